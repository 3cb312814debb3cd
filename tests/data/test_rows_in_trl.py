"""`data/*.jsonl` goes into TRL as it stands: through datasets' own JSON reader, then TRL's chat template code."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from calltune.calling.chat import Chat
from calltune.data.rows import training_row
from calltune.files.json_lines import write_jsonl
from calltune.models.load import load_tokenizer
from calltune.types import Example, Message, Preference, Tool, ToolCall

TOOLS = (
    Tool("find", "Find ünï.", {"type": "object", "properties": {"city": {"type": "string", "default": None}}}),
    Tool("pay", "Pay.", {"type": "object", "properties": {"sum": {"type": "number", "enum": [1, 2.5]}}}),
)


def user(text: str) -> Message:
    return Message("user", text)


def call(name: str, **arguments: object) -> Message:
    return Message("assistant", "", (ToolCall(name, arguments),))


TEXT = Message("assistant", "123")
PAST = (user("a"), call("find", city="Ü"), Message("tool", '{"n": 1}'), Message("assistant", "There."), user("b"))
EXAMPLES = [
    Example("0", "s", (user("q"), TEXT), (), "direct"),
    Example(
        "1", "s", (user("q"), call("find", city="Zürich", more={"a": [1, None, 2.5], "b": {}})), TOOLS, "tool_call"
    ),
    Example("2", "s", (user("q"), call("pay", sum=2.5)), TOOLS[1:], "tool_call"),
    Example("3", "s", (*PAST, call("find", city=None, when="1")), TOOLS, "tool_call", parent="2", rule="r"),
]
PAIRS = [
    Preference(e.id, "s", e.prompt, e.tools, e.answers[0], other, e.behavior)
    for e, other in zip(EXAMPLES, (TEXT, TEXT, call("find", town=1), TEXT), strict=True)
]


@pytest.fixture(params=["shipped", "qwen3", "llama3_2", "qwen2_5"])
def chat(request: pytest.FixtureRequest, tiny_model: Path) -> Chat:
    import trl

    tokenizer = load_tokenizer(str(tiny_model))
    if request.param != "shipped":
        template = Path(trl.__path__[0], "chat_templates", f"{request.param}.jinja").read_text(encoding="utf-8")
        tokenizer.chat_template = template.replace("<|eot_id|>", "<|im_end|>")
    return Chat(tokenizer)


def load(path: Path, rows: list) -> list[dict]:
    import datasets

    datasets.disable_progress_bars()
    write_jsonl(path, map(training_row, rows))
    return list(datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(path.parent)))


def trl_text(row: dict, chat: Chat) -> dict[str, str]:
    from trl.data_utils import apply_chat_template

    # As TRL 1.16's SFTTrainer and DPOTrainer read the column.
    tools = json.loads(row["tools"]) if isinstance(row["tools"], str) else row["tools"]
    return apply_chat_template(row, chat.tokenizer, tools)


def test_examples_have_the_text_that_calltune_trains_on(chat: Chat, tmp_path: Path) -> None:
    for row, example in zip(load(tmp_path / "train.jsonl", EXAMPLES), EXAMPLES, strict=True):
        prompt, (answer,) = chat.prompt_and_answers(example.prompt, example.tools, example.answers)
        assert trl_text(row, chat)["text"].removesuffix("\n") == prompt + answer


def test_pairs_have_the_text_that_calltune_trains_on(chat: Chat, tmp_path: Path) -> None:
    for row, pair in zip(load(tmp_path / "pairs.jsonl", PAIRS), PAIRS, strict=True):
        prompt, (chosen, rejected) = chat.prompt_and_answers(pair.prompt, pair.tools, pair.answers)
        text = trl_text(row, chat)
        assert text["prompt"] + text["chosen"].removesuffix("\n") == prompt + chosen
        assert text["prompt"] + text["rejected"].removesuffix("\n") == prompt + rejected


def test_rows_with_thoughts_have_the_text_that_calltune_trains_on(tiny_model: Path, tmp_path: Path) -> None:
    import trl

    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.chat_template = Path(trl.__path__[0], "chat_templates", "qwen3_5_think.jinja").read_text(encoding="utf-8")
    chat = Chat(tokenizer)
    thought = replace(call("pay", sum=1), thought="It costs one.")
    rows = [EXAMPLES[2], *(replace(e, messages=(*e.prompt, thought)) for e in EXAMPLES[1:])]
    for row, example in zip(load(tmp_path / "train.jsonl", rows), rows, strict=True):
        own = chat.for_answers(example.answers)
        prompt, (answer,) = own.prompt_and_answers(example.prompt, example.tools, example.answers)
        assert trl_text(row, chat)["text"].removesuffix("\n") == prompt + answer
        assert ("It costs one." in answer) is bool(example.answers[0].thought)
    pairs = [replace(pair, chosen=thought, rejected=replace(thought, content="No.")) for pair in PAIRS]
    for row, pair in zip(load(tmp_path / "pairs.jsonl", [*pairs, PAIRS[2]]), [*pairs, PAIRS[2]], strict=True):
        own = chat.for_answers(pair.answers)
        prompt, (chosen, rejected) = own.prompt_and_answers(pair.prompt, pair.tools, pair.answers)
        text = trl_text(row, chat)
        assert text["prompt"] + text["chosen"].removesuffix("\n") == prompt + chosen
        assert text["prompt"] + text["rejected"].removesuffix("\n") == prompt + rejected
