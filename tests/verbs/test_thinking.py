"""`[chat] thinking`, from rows with thoughts to results in both modes, on a model of two layers that learns them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from calltune.config.run_file import Config, load_config
from calltune.data.rows import read_examples
from calltune.errors import ConfigError
from calltune.evaluation.answers import count_thoughts
from calltune.evaluation.jobs import ask, read_jobs
from calltune.files.manifest import read_manifest
from calltune.models.backends.hf import Backend
from calltune.types import Completion, Message, Sample
from calltune.verbs import check, evaluate, prepare, report, sft

TEMPLATE = Path(__file__).parents[1] / "material" / "templates" / "smollm3_like.jinja"
TOOL = {
    "name": "book",
    "description": "Book.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
WARM = Path(__file__).parents[2] / "examples" / "tiny-qwen3"
CITIES = ("Rome", "Oslo", "Paris", "Cairo")
OTHERS = ("Lima", "Bern", "Kyoto", "Quito")
THOUGHT = "It is a booking."


def call(city: str, **more: Any) -> dict[str, Any]:
    function = {"name": "book", "arguments": json.dumps({"city": city})}
    return {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}], **more}


def rows() -> list[dict[str, Any]]:
    asked = [
        [{"role": "user", "content": f"Please book {city}."}, call(city, reasoning_content=THOUGHT)] for city in CITIES
    ]
    greeted = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
    return [{"messages": messages, "tools": [{"type": "function", "function": TOOL}]} for messages in (*asked, greeted)]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Config]:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()))
    answers = {"direct": "Hello.", "request_for_info": "Which?", "cannot_answer": "I cannot."}
    questions = [
        {
            "uuid": f"q-{city}",
            "question": f"Please book {city}.",
            "correct_answer": "tool_call",
            "answers": {**answers, "tool_call": json.dumps({"name": "book", "arguments": {"city": city}})},
            "tools": [json.dumps(TOOL)],
        }
        for city in OTHERS
    ]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    (tmp_path / "run.toml").write_text(
        f'''
name = "toy"
model = "{WARM}"
chat_template = "{TEMPLATE}"
output = "{tmp_path}/runs"
stages = ["sft"]
[chat]
max_thought_tokens = 24
[data]
validation_fraction = 0.0
allow_missing = ["request_for_info", "cannot_answer"]
[[data.sources]]
name = "openai_traces"
path = "{tmp_path}/rows.jsonl"
[sft]
per_device_train_batch_size = 4
learning_rate = 2e-3
max_steps = 40
[tracking]
mlflow = false
[[evaluate.benchmarks]]
name = "when2call_generation"
path = "{tmp_path}/questions.jsonl"
max_new_tokens = 40
[[evaluate.benchmarks]]
name = "when2call"
path = "{tmp_path}/questions.jsonl"
'''
    )
    return lambda *words: load_config(tmp_path / "run.toml", words)


def on_disk(config: Config) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (config.run_folder / "data" / "train.jsonl").read_text().splitlines()]


def test_with_thinking_off_thoughts_are_dropped_and_told(write: Callable[..., Config]) -> None:
    config = write()
    prepare.run(config)
    assert not any("reasoning_content" in message for row in on_disk(config) for message in row["messages"])
    assert {str(row["chat_template_kwargs"]) for row in on_disk(config)} == {"{'enable_thinking': False}"}
    assert "text_dropped" in (config.run_folder / "data" / "changes.jsonl").read_text()


def test_rows_keep_their_thoughts_and_say_their_mode(write: Callable[..., Config]) -> None:
    config = write("chat.thinking=on")
    prepare.run(config)
    data = config.run_folder / "data"
    for row in on_disk(config):
        thoughts = [message["reasoning_content"] for message in row["messages"] if "reasoning_content" in message]
        assert thoughts == [THOUGHT] * (row["behavior"] == "tool_call")
        assert row["chat_template_kwargs"]["enable_thinking"] is bool(thoughts)
    assert "text_dropped" not in (data / "changes.jsonl").read_text()
    assert [m.thought for row in read_examples(data / "train.jsonl") for m in row.answers if m.thought] == [THOUGHT] * 4
    notes = json.loads((data / "doctor.json").read_text())["notes"]
    assert "4 rows have a thought and are trained with it; 1 have none and are trained with thinking off" in notes


def test_both_modes_are_learned_and_neither_leaks_into_the_other(
    write: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    config = write("chat.thinking=both")
    prepare.run(config)
    folder = sft.run(config)
    counts = read_manifest(folder)["counts"]
    assert (counts["rows"], counts["rows_thinking"]) == (9, 4)
    backend = Backend(str(folder), 4096, chat_template=str(TEMPLATE))
    tools = read_examples(config.run_folder / "data" / "train.jsonl")[0].tools
    samples = [Sample(city, "toy", (Message("user", f"Please book {city}."),), tools, None) for city in CITIES]
    for thinking in (True, False, None):
        for answer in backend.answer(samples, 64, thinking):
            assert answer.message is not None, answer
            assert answer.message.tool_calls[0].name == "book"
            assert answer.message.thought == (THOUGHT if thinking else "")
            assert ("think>" in answer.text) is bool(thinking)
    cut = backend.answer(samples, 12, thinking=True)
    assert {answer.status for answer in cut} == {"truncated"}
    assert count_thoughts(cut) == {"with_thought": 4, "endless": 4}
    evaluate.run(config)
    found = {
        place.parent.name: json.loads(place.read_text())
        for place in (config.run_folder / "eval/sft").rglob("result.json")
    }
    assert sorted(found) == ["when2call", "when2call_generation", "when2call_generation-thinking"]
    assert found["when2call_generation-thinking"]["thoughts"] == {"with_thought": 4, "endless": 0}
    assert found["when2call_generation"]["thoughts"] == {"with_thought": 0, "endless": 0}
    assert "thoughts" not in found["when2call"]
    capsys.readouterr()
    report.run(config, full=True)
    told = capsys.readouterr().out
    results = json.loads((config.run_folder / "report.json").read_text())["results"]
    thinking = [one for one in results if one["checkpoint"] == "sft" and one["benchmark"].endswith("-thinking")]
    assert [one["thoughts"]["with_thought"] for one in thinking] == [4]
    assert "when2call_generation by mode of thinking" in told
    page = (config.run_folder / "report.html").read_text()
    for place in (told, page):
        assert all(column in place for column in ("base off", "base on", "sft off", "sft on"))
        assert "answers with a thought" in place


class Told:
    """A backend that keeps what it was told, and answers nothing."""

    chat = None

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def answer(self, samples: list[Sample], **told: Any) -> list[Completion]:
        self.told.append(told)
        return []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), [{"max_new_tokens": 40}]),
        (("chat.thinking=on",), [{"max_new_tokens": 64, "thinking": True}]),
        (
            ("chat.thinking=both",),
            [{"max_new_tokens": 40, "thinking": False}, {"max_new_tokens": 64, "thinking": True}],
        ),
    ],
)
def test_an_answer_has_room_for_its_thought(
    write: Callable[..., Config], words: tuple[str, ...], told: list[dict[str, Any]]
) -> None:
    backend: Any = Told()
    for job in read_jobs(write(*words)):
        if job.module.scoring_request is None:
            ask(backend, job, [])
    assert backend.told == told


def test_check_proves_the_mode_and_a_rule_may_name_it(write: Callable[..., Config]) -> None:
    rule = 'gate.rules=["when2call_generation-thinking.behavior_accuracy >= 0.5"]'
    with pytest.raises(ConfigError, match="unknown benchmark"):
        write(rule)
    check.run(write("chat.thinking=both", rule), with_data=False)
    choices = write("chat.thinking=both", 'gate.rules=["when2call-thinking.acc >= 0.5"]')
    with pytest.raises(ConfigError, match="never asked with thinking on"):
        check.run(choices, with_data=False)
