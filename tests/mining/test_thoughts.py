"""Pairs of a model that is asked to think: both answers have the thought with which they were given."""

from pathlib import Path

import pytest
import trl
from toy_calls import BOOK, call, user

from calltune.calling.chat import Chat
from calltune.config.training import MineConfig
from calltune.data.rows import read_preferences
from calltune.errors import DataError
from calltune.mining.asking import Asked
from calltune.mining.making import write_pairs
from calltune.mining.questions import Question
from calltune.models.load import load_tokenizer
from calltune.types import Completion, Message, Sample


@pytest.fixture
def chat(tiny_model: Path) -> Chat:
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.chat_template = Path(trl.__path__[0], "chat_templates", "qwen3_5_think.jinja").read_text(encoding="utf-8")
    return Chat(tokenizer)


RIGHT = call("book_table", city="Rome", people=2)
BROKEN = "<tool_call>\n<function=book_table"
SAMPLE = Sample("q", "mine", (user("Please book a table for 2 people in Rome."),), (BOOK,), "tool_call")


def drawn(chat: Chat, *texts: str) -> list[Completion]:
    read = [chat.in_mode(True).parse(text, [BOOK]) for text in texts]
    return [
        Completion("q", one.message, text, "ok" if one.message else "malformed", reason=one.reason)
        for one, text in zip(read, texts, strict=True)
    ]


def texts(chat: Chat) -> list[str]:
    """The right call, a broken one and a text instead, each behind a thought that the prompt opened; an endless one."""
    on = chat.in_mode(True)
    told = [Message("assistant", "", RIGHT.tool_calls, "Yes."), Message("assistant", "No, sorry.", thought="No.")]
    right, refusal = (on.strip_end(on.answer(SAMPLE.messages, [BOOK], message)) for message in told)
    return [right, f"Hm.\n</think>\n\n{BROKEN}", refusal, "Hm. It never"]


def test_both_answers_of_a_pair_have_their_thoughts(chat: Chat, tmp_path: Path) -> None:
    asked = Asked([Question(SAMPLE, Message("assistant", "", RIGHT.tool_calls), "tool_call")], [], {})
    told = write_pairs(tmp_path, chat.in_mode(True), asked, [drawn(chat, *texts(chat))], [], MineConfig(), 0)
    pairs = {pair.rule: pair for pair in read_preferences(tmp_path / "pairs.jsonl")}
    assert all(pair.chosen == RIGHT for pair in pairs.values())
    assert {pair.chosen.thought for pair in pairs.values()} == {"Yes."}
    assert (pairs["malformed"].rejected.content, pairs["malformed"].rejected.thought) == (BROKEN, "Hm.")
    assert [pair.rejected.thought for rule, pair in pairs.items() if rule != "malformed"] == ["No."]
    assert told["num_pairs"] == 2


def test_a_known_answer_without_a_thought_is_in_no_pair(chat: Chat, tmp_path: Path) -> None:
    asked = Asked([Question(SAMPLE, Message("assistant", "", RIGHT.tool_calls), "tool_call")], [], {})
    wrong = drawn(chat, *texts(chat)[1:3])
    with pytest.raises(DataError, match="no mistake that can be learned from"):
        write_pairs(tmp_path, chat.in_mode(True), asked, [wrong], [], MineConfig(), 0)
