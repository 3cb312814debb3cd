"""The embedded source: splits share nothing, behaviours follow the rule, and the tiny model's template fits."""

import json
import random
import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

from calltune.calling.behavior import text_behavior
from calltune.data.sources.synthetic import examples, preferences, questions
from calltune.data.sources.synthetic.catalogue import abilities
from calltune.data.sources.synthetic.situations import Situation, situation
from calltune.data.sources.synthetic.values import CHOICES, SPLITS, Split, draw
from calltune.data.sources.synthetic.wordings import small_talk, wordings
from calltune.types import BEHAVIORS, Message, Tool

TINY_QWEN3 = Path(__file__).parents[3] / "examples" / "tiny-qwen3"

KINDS = ("date", "time", "city", "origin", "person", "title", "code", "nights", "copies", "minutes", "amount")


def _situations(split: Split, number: int = 400) -> list[Situation]:
    rng = random.Random(11)
    return [situation(rng, BEHAVIORS[place % 4], split) for place in range(number)]


def _all_wordings(split: Split) -> set[str]:
    words = wordings(split)
    found = {*words.requests, *words.questions_back, *words.refusals, *words.bare_refusals, *words.claims}
    found |= {phrase for phrases in words.slots.values() for phrase in phrases}
    found |= {text for pair in small_talk(split).pairs for text in pair}
    return {re.sub(r"\W+", " ", re.sub(r"\{(\w+)\}", r" \1 ", text)).strip().lower() for text in found}


def _all_values(split: Split) -> set[str]:
    rng = random.Random(3)
    drawn = {f"{kind} {draw(rng, kind, split)}" for kind in KINDS for _ in range(3000)}
    return drawn | {option for pools in CHOICES.values() for options in pools[split] for option in options}


@pytest.mark.parametrize(("one", "other"), list(combinations(SPLITS, 2)))
def test_splits_share_no_tool_no_wording_and_no_value(one: Split, other: Split) -> None:
    assert not {a.tool.name for a in abilities(one)} & {a.tool.name for a in abilities(other)}
    assert not {a.thing for a in abilities(one)} & {a.thing for a in abilities(other)}
    assert not _all_wordings(one) & _all_wordings(other)
    assert not _all_values(one) & _all_values(other)


@pytest.mark.parametrize("split", SPLITS)
def test_small_talk_fillers_belong_to_one_split(split: Split) -> None:
    for name, entries in small_talk(split).fillers.items():
        for other in SPLITS:
            assert other == split or not set(entries) & set(small_talk(other).fillers[name])


def test_a_seed_gives_the_same_rows_again_and_another_seed_others() -> None:
    assert list(examples(5, 40)) == list(examples(5, 40))
    assert list(preferences(5, 40)) == list(preferences(5, 40))
    assert list(questions(5, 40, "development")) == list(questions(5, 40, "development"))
    ours, theirs = ({e.messages[0].content for e in examples(seed, 40)} for seed in (5, 6))
    assert len(ours & theirs) < 10


@pytest.mark.parametrize("split", SPLITS)
def test_behaviours_follow_the_rule(split: Split) -> None:
    for drawn in _situations(split):
        offered = {tool.name for tool in drawn.tools}
        assert len(offered) == len(drawn.tools)
        match drawn.behavior:
            case "direct":
                assert drawn.target is None
            case "cannot_answer":
                assert drawn.target
                assert drawn.target.name not in offered
            case "tool_call":
                (call,) = drawn.answers["tool_call"].tool_calls
                assert drawn.target
                assert call.name == drawn.target.name in offered
                assert set(drawn.target.parameters["required"]) <= set(call.arguments)
                assert all(str(value) in drawn.question for value in call.arguments.values())
            case "request_for_info":
                (call,) = drawn.answers["tool_call"].tool_calls
                assert drawn.target
                assert drawn.target.name in offered
                assert drawn.missing
                asked = drawn.answers["request_for_info"].content
                for name in drawn.missing:
                    assert not re.search(rf"\b{re.escape(str(call.arguments[name]))}\b", drawn.question)
                    assert name.replace("_", " ") in asked


@pytest.mark.parametrize("split", SPLITS)
def test_text_answers_are_read_as_what_they_are(split: Split) -> None:
    for drawn in _situations(split):
        for behavior, answer in drawn.answers.items():
            assert bool(answer.tool_calls) == (behavior == "tool_call")
            assert answer.tool_calls or text_behavior(answer.content) == behavior, answer.content


def test_the_behaviours_come_equally_often_and_some_rows_have_no_tools() -> None:
    rows = list(examples(0, 400))
    assert Counter(row.behavior for row in rows) == dict.fromkeys(BEHAVIORS, 100)
    without = Counter(row.behavior for row in rows if not row.tools)
    assert set(without) == {"direct", "cannot_answer"}
    assert 10 <= without.total() <= 40


def test_pairs_are_balanced_and_share_no_question_with_the_examples() -> None:
    rows = list(preferences(0, 240))
    assert Counter(row.behavior for row in rows) == dict.fromkeys(BEHAVIORS, 60)
    asked = {row.messages[0].content for row in examples(0, 800)}
    assert not asked & {row.prompt[0].content for row in rows}
    for row in rows:
        assert row.chosen != row.rejected
        assert bool(row.chosen.tool_calls) == (row.behavior == "tool_call")


def test_questions_have_the_published_layout() -> None:
    rows = list(questions(2, 80, "development"))
    assert len({row["uuid"] for row in rows}) == len({row["question"] for row in rows}) == 80
    for row in rows:
        assert list(row) == [
            "uuid", "source", "source_id", "question", "correct_answer", "answers", "target_tool", "tools"
        ]  # fmt: skip
        assert tuple(row["answers"]) == BEHAVIORS
        tools = [json.loads(text) for text in row["tools"]]
        assert all(tool["parameters"]["type"] == "object" for tool in tools)
        assert set(json.loads(row["answers"]["tool_call"])) == {"name", "arguments"}
        expects_tool = row["correct_answer"] in ("tool_call", "request_for_info")
        assert (row["target_tool"] in row["tools"]) if expects_tool else row["target_tool"] is None


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="no such split: test"):
        next(questions(0, 1, "test"))


def _as_openai(message: Message) -> dict[str, object]:
    calls = [
        {"type": "function", "function": {"name": call.name, "arguments": dict(call.arguments)}}
        for call in message.tool_calls
    ]
    return {"role": message.role, "content": message.content} | ({"tool_calls": calls} if calls else {})


def _offer(tools: tuple[Tool, ...]) -> list[dict[str, object]] | None:
    return [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
        }
        for tool in tools
    ] or None


def test_the_tiny_model_s_template_renders_a_prompt_that_is_a_prefix() -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(TINY_QWEN3)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    for row in examples(1, 60):
        turns = [_as_openai(message) for message in row.messages]
        tools = _offer(row.tools)
        prompt = tokenizer.apply_chat_template(turns[:1], tools=tools, add_generation_prompt=True, tokenize=False)
        whole = tokenizer.apply_chat_template(turns, tools=tools, tokenize=False)
        assert whole.startswith(prompt)
        assert whole.endswith("<|im_end|>\n")
        assert all(json.dumps(dict(tool.parameters)) in prompt for tool in row.tools)
        prompt_ids, whole_ids = tokenizer(prompt)["input_ids"], tokenizer(whole)["input_ids"]
        assert whole_ids[: len(prompt_ids)] == prompt_ids
        assert tokenizer.decode(whole_ids) == whole
        if row.behavior == "tool_call":
            (call,) = row.messages[1].tool_calls
            written = json.dumps({"name": call.name, "arguments": dict(call.arguments)})
            assert whole[len(prompt) :] == f"<tool_call>\n{written}\n</tool_call><|im_end|>\n"
