"""A known answer that is longer than answers may be is told by `check`, `mine` and `evaluate`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from calltune.calling.chat import Chat
from calltune.cli import main
from calltune.evaluation.benchmarks import bfcl, when2call_generation
from calltune.evaluation.room import Known, cut_off
from calltune.models.load import load_tokenizer
from calltune.types import Message, Sample, Tool, ToolCall

WARM = Path(__file__).parents[2] / "examples" / "tiny-qwen3"
TOOL = Tool("get_weather", "Tells the weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
ASKED = (Message("user", "How is the weather?"),)


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(load_tokenizer(str(WARM)), str(WARM))


def known(name: str, city: str) -> Known:
    return Known(name, ASKED, (TOOL,), Message("assistant", tool_calls=(ToolCall("get_weather", {"city": city}),)))


def test_the_longest_answer_is_named_to_the_token(chat: Chat) -> None:
    answers = [known("short", "Oslo"), known("long", "Oslo " * 9), known("longer", "Oslo " * 12)]
    text = chat.answer(ASKED, (TOOL,), answers[2].answer)
    most = len(chat.tokenizer(text, add_special_tokens=False).input_ids)
    assert cut_off(chat, answers, most, "max_new_tokens") == ""
    line = cut_off(chat, answers, most - 1, "max_new_tokens")
    assert line == (
        f"the answer that is known to 'longer' has {most} tokens, and max_new_tokens = {most - 1} cuts it off; raise it"
    )
    assert cut_off(chat, [], 1, "max_new_tokens") == ""


def test_a_thought_has_room_of_its_own(chat: Chat) -> None:
    one = known("thinks", "Oslo")
    thinks = replace(one, answer=replace(one.answer, thought="It is cold. " * 20))
    assert cut_off(chat, [thinks], 40, "max_new_tokens") == cut_off(chat, [one], 40, "max_new_tokens") == ""


def test_benchmarks_tell_the_calls_that_they_know() -> None:
    call = {"name": "get_weather", "arguments": {"city": "Oslo"}}
    due = Sample("1", "when2call_generation", ASKED, (TOOL,), {"behavior": "tool_call", "call": call})
    answer = when2call_generation.known_answer(due)
    assert answer is not None
    assert answer.tool_calls == (ToolCall("get_weather", {"city": "Oslo"}),)
    assert when2call_generation.known_answer(replace(due, target={"behavior": "direct", "call": None})) is None
    argument = {"accepted": ["Oslo", "Oslo, Norway"], "type": "string", "items": None}
    calls = [{"name": "get_weather", "required": ["city"], "arguments": {"city": argument, "unit": argument}}]
    target = {"expect": "calls", "language": "python", "calls": calls}
    answer = bfcl.known_answer(replace(due, target=target))
    assert answer is not None
    assert answer.tool_calls == (ToolCall("get_weather", {"city": "Oslo"}),)
    assert bfcl.known_answer(replace(due, target={"expect": "any_call"})) is None


def test_it_is_told_before_and_when_it_happens(
    write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(write_run_file("[mine]\nnum_answers = 1\nnum_questions = 2\nmax_new_tokens = 8\n", 'stages = ["dpo"]'))
    room = {"mine": "mine.max_new_tokens = 8 cuts it off", "evaluate": "and max_new_tokens = 8 cuts it off"}
    for verb in ("check", "prepare", "mine", "evaluate"):
        main([verb, file])
        told = " ".join("".join(capsys.readouterr()).split())
        for name, words in room.items():
            assert (words in told) == (verb in ("check", name)), (verb, name)
