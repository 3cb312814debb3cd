"""Whatever a row holds: one that the doctor lets through is taught as it is written, the others have a reason."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import trl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from calltune.calling.chat import Chat
from calltune.calling.template_proof import Proof, Written
from calltune.data.doctor.contamination import AskedQuestions
from calltune.data.doctor.facts import Examiner
from calltune.data.rows import example_from
from calltune.models.load import load_tokenizer
from calltune.types import Example, Message, Tool, ToolCall

TEXTS = some.one_of(
    some.text(max_size=20),
    some.text(some.characters(), max_size=8),
    some.sampled_from(
        ["<tool_call>", "</tool_call>", "<|im_end|>", "<think>x</think>", "{", "[", '{"name": "t"}', "\n\n", " a ", ""]
    ),
)
VALUES = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | TEXTS,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = some.dictionaries(TEXTS, VALUES, max_size=3)
CALLS = some.lists(some.builds(ToolCall, some.sampled_from(["t", "a b", 'q"', ""]) | TEXTS, ARGUMENTS), max_size=2)
ANSWERS = some.builds(Message, some.just("assistant"), TEXTS, CALLS.map(tuple))
TOOLS = some.builds(
    Tool,
    some.sampled_from(["t", "a b", 'q"']) | TEXTS,
    TEXTS,
    some.builds(lambda p: {"type": "object", "properties": p}, some.dictionaries(TEXTS, some.just({}), max_size=2)),
)
TURNS = some.one_of(
    some.builds(Message, some.just("user"), TEXTS), some.builds(Message, some.just("tool"), TEXTS), ANSWERS
)
ROWS = some.builds(
    lambda first, turns, answer, tools: Example("r", "s", (first, *turns, answer), tuple(tools), "direct"),
    some.builds(Message, some.sampled_from(["user", "system"]), TEXTS),
    some.lists(TURNS, max_size=3),
    ANSWERS,
    some.lists(TOOLS, max_size=2),
)


@pytest.fixture(scope="module", params=["shipped", "llama3_2"])
def examiner_of(request: pytest.FixtureRequest, tiny_model: Path) -> Callable[[], tuple[Chat, Examiner]]:
    tokenizer = load_tokenizer(str(tiny_model))
    if request.param != "shipped":
        template = Path(trl.__path__[0], "chat_templates", f"{request.param}.jinja").read_text(encoding="utf-8")
        tokenizer.chat_template = template.replace("<|eot_id|>", "<|im_end|>")
    chat = Chat(tokenizer, "toy")
    examiner = Examiner(Proof(chat), AskedQuestions())
    return lambda: (chat, examiner)


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(row=ROWS)
def test_any_row(examiner_of: Callable[[], tuple[Chat, Examiner]], row: Example) -> None:
    chat, examiner = examiner_of()
    facts, line = examiner.look(row, 0)
    if any(finding in ("broken", "template") for finding, _ in facts.problems):
        assert all(reason and "\n" not in reason for _, reason in facts.problems)
        return
    again = example_from(json.loads(line))
    assert again == row
    written = Proof(chat).row(again)
    assert isinstance(written, Written)
    prompt, whole = chat.tokenizer([written.prompt, written.prompt + written.answers[0]]).input_ids
    assert whole[: len(prompt)] == prompt
    assert facts.tokens == (len(prompt), len(whole) - len(prompt))
    assert whole[-1] == chat.tokenizer.eos_token_id
    trained = str(chat.tokenizer.decode(whole[len(prompt) :]))
    parsed = chat.parse(trained, row.tools).message
    assert parsed is not None
    assert parsed.tool_calls == row.messages[-1].tool_calls
    assert parsed.content == row.messages[-1].content.strip()
