import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from not_strict import NAMES, NOT_STRICT

from calltune.cli import main
from calltune.errors import DataError
from calltune.evaluation.benchmarks import when2call, when2call_generation
from calltune.types import BEHAVIORS, Completion, Message, Sample, Tool, ToolCall
from calltune.verbs.evaluate import count

CALL = {"name": "t", "arguments": {"a": 1}}
ROW = {
    "uuid": "1",
    "question": "q",
    "correct_answer": "tool_call",
    "answers": {
        "direct": "It is.",
        "tool_call": json.dumps(CALL),
        "request_for_info": "Which?",
        "cannot_answer": "I can't.",
    },
    "target_tool": None,
    "tools": [
        '{"name": "t", "description": "d", "parameters": {"type": "dict", "properties": {"a": {"type": "int"}}}}'
    ],
}


def write(folder: Path, rows: list) -> Path:
    file = folder / "test.jsonl"
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return file


def samples(folder: Path, rows: list, module=when2call) -> list[Sample]:
    return list(module.samples(module.Settings(path=str(write(folder, rows)))))


def scored(target: str, tools: bool, logprobs: list[float], characters: list[int]) -> tuple[Sample, Completion]:
    offered = (Tool("t", "", {"type": "object"}),) if tools else ()
    choices = {"tool_call": Message("assistant", "", (ToolCall("t", {}),))}
    sample = Sample("1", "when2call", (), offered, target, choices)
    values, lengths = dict(zip(BEHAVIORS, logprobs, strict=True)), dict(zip(BEHAVIORS, characters, strict=True))
    return sample, Completion("1", None, "", "ok", values, lengths)


def test_samples(tmp_path: Path) -> None:
    (sample,) = samples(tmp_path, [ROW])
    assert sample.target == "tool_call"
    assert list(sample.choices) == list(BEHAVIORS)
    assert sample.choices["tool_call"] == Message("assistant", "", (ToolCall("t", {"a": 1}),))
    assert sample.tools[0].parameters["properties"] == {"a": {"type": "integer"}}


def test_the_two_argmaxes() -> None:
    sample, completion = scored("cannot_answer", True, [-9, -5, -8, -6], [10, 4, 20, 30])
    assert when2call.likeliest(completion) == "tool_call"
    assert when2call.likeliest_per_character(completion) == "cannot_answer"
    verdict = when2call.score(sample, completion)
    assert (verdict.value, verdict.label) == (1.0, "cannot_answer")
    summary = when2call.summarize([sample], [completion], [verdict])
    assert summary.metrics["acc"] == 0
    assert summary.metrics["acc_norm"] == 1
    assert summary.metrics["hallucination_rate"] is None
    assert summary.confusion["by_likelihood"]["counts"][3] == [0, 1, 0, 0]
    assert summary.confusion["by_likelihood_norm"]["counts"][3] == [0, 0, 0, 1]


def test_a_template_that_writes_nothing_of_an_answer_is_one_line(
    tiny_model: Path, tmp_path: Path, write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_run_file(model=shutil.copytree(tiny_model, tmp_path / "model"))
    assert main(["prepare", str(file)]) == 0
    template = tmp_path / "model" / "chat_template.jinja"
    assert template.read_text().count("{{- message.content or '' -}}") == 1
    template.write_text(template.read_text().replace("{{- message.content or '' -}}", ""))
    capsys.readouterr()
    assert main(["evaluate", str(file), "stages=[]"]) == 2
    assert "its chat template writes nothing of an answer to question " in capsys.readouterr().err


def test_hallucination_counts_calls_where_there_is_no_tool() -> None:
    asked = [
        scored("cannot_answer", False, [-9, -1, -9, -9], [1, 1, 1, 1]),
        scored("cannot_answer", False, [-9, -9, -9, -1], [1, 1, 1, 1]),
        scored("cannot_answer", True, [-9, -1, -9, -9], [1, 1, 1, 1]),
    ]
    verdicts = [when2call.score(*pair) for pair in asked]
    summary = when2call.summarize([s for s, _ in asked], [c for _, c in asked], verdicts)
    assert summary.metrics["hallucination_rate"] == 0.5
    assert summary.metrics["recall_cannot_answer"] == pytest.approx(1 / 3)


def test_the_official_prompt_and_its_choices(tmp_path: Path) -> None:
    (sample,) = samples(tmp_path, [ROW])
    settings = when2call.Settings(prompt="official", family="xlam")
    request = when2call.scoring_request(sample, settings, None)
    assert request.continuations[0] == "It is."
    assert request.continuations[1] == '{\n\t"tool_calls": [\n\t' + json.dumps(CALL) + "\n\t]\n}"
    assert ROW["tools"][0].split('"description"')[0] in request.prompt
    assert when2call.prompt_name(settings, None) == "official (xlam)"


def test_baselines_stand_beside_the_score(tmp_path: Path) -> None:
    (sample,) = samples(tmp_path, [{**ROW, "question": "a is 1"}])
    completion = Completion("1", None, "", "ok", dict.fromkeys(BEHAVIORS, -1.0), dict.fromkeys(BEHAVIORS, 1))
    summary = when2call.summarize([sample], [completion], [when2call.score(sample, completion)])
    assert summary.metrics["baseline_option_reading"] == 1
    assert summary.metrics["baseline_majority"] == 1
    assert summary.metrics["acc"] == 0


def test_an_error_enters_no_average() -> None:
    right = scored("direct", True, [-1, -9, -9, -9], [1, 1, 1, 1])
    failed = (right[0], Completion("1", None, "", "error", reason="server gone"))
    verdicts = [when2call.score(*right), when2call.score(*failed)]
    summary = when2call.summarize([right[0]] * 2, [right[1], failed[1]], verdicts)
    assert summary.metrics["acc_norm"] == 1
    bins = count([right[1], failed[1]], verdicts)
    assert bins["num_errors"] == 1
    assert bins["num_samples"] == sum(value for key, value in bins.items() if key != "num_samples") == 2


def test_generated_behaviour(tmp_path: Path) -> None:
    (sample,) = samples(tmp_path, [ROW], when2call_generation)
    assert not sample.choices
    answers = {
        "tool_call": Completion("1", Message("assistant", "", (ToolCall("t", {"a": 1}),)), "", "ok"),
        "wrong call": Completion("1", Message("assistant", "", (ToolCall("t", {"a": 2}),)), "", "ok"),
        "cannot_answer": Completion("1", Message("assistant", "I can't."), "", "ok"),
        "malformed": Completion("1", None, "<tool_call>", "malformed", reason="open"),
        "truncated": Completion("1", None, "and and", "truncated"),
    }
    verdicts = {name: when2call_generation.score(sample, answer) for name, answer in answers.items()}
    assert {name: (v.value, v.label) for name, v in verdicts.items()} == {
        "tool_call": (1.0, "tool_call"),
        "wrong call": (1.0, "tool_call"),
        "cannot_answer": (0.0, "cannot_answer"),
        "malformed": (0.0, "malformed"),
        "truncated": (0.0, "truncated"),
    }
    summary = when2call_generation.summarize([sample] * 5, list(answers.values()), list(verdicts.values()))
    assert summary.metrics["behavior_accuracy"] == 0.4
    assert summary.metrics["exact_call_rate"] == 0.2
    assert summary.metrics["malformed_rate"] == 0.2
    assert count(list(answers.values()), list(verdicts.values())) == {
        "num_samples": 5,
        "num_correct": 2,
        "num_wrong": 1,
        "num_malformed": 1,
        "num_truncated": 1,
        "num_errors": 0,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answers": None}, "'answers' must be dict, not NoneType"),
        ({"answers": {"direct": "x"}}, "answers: 'tool_call' is missing"),
        ({"answers": {**ROW["answers"], "direct": " "}}, "answers: 'direct' is empty"),
        ({"answers": {**ROW["answers"], "tool_call": "{"}}, "answers.tool_call: not valid JSON"),
        ({"correct_answer": "maybe"}, "'correct_answer' must be one of"),
        ({"tools": ["{"]}, r"tools\[0\]: not valid JSON"),
        ({"uuid": 3}, "'uuid' must be str, not int"),
        ({"uuid": "1"}, "'uuid' 1 occurs twice"),
    ],
)
def test_a_broken_row_names_file_line_and_field(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        samples(tmp_path, [ROW, {**ROW, "uuid": "2", **change}])
    assert str(error.value).startswith(f"{tmp_path / 'test.jsonl'}:2: ")


@pytest.mark.parametrize(("text", "message"), NOT_STRICT, ids=NAMES)
def test_questions_are_read_strictly(tmp_path: Path, text: str, message: str) -> None:
    rows = {
        "": json.dumps({**ROW, "question": "@"}).replace('"@"', text),
        "answers.tool_call: ": {**ROW, "answers": {**ROW["answers"], "tool_call": json.dumps(CALL).replace("1", text)}},
        "tools[0]: ": {**ROW, "tools": [ROW["tools"][0].replace('"d"', text)]},
    }
    for field, row in rows.items():
        with pytest.raises(DataError) as error:
            samples(tmp_path, [ROW, row])
        assert str(error.value).startswith(f"{tmp_path / 'test.jsonl'}:2: {field}{message}")
        assert "\n" not in str(error.value)


def test_no_questions_and_a_cut_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no questions"):
        samples(tmp_path, [])
    with pytest.raises(DataError, match=":2: not valid JSON"):
        samples(tmp_path, [ROW, json.dumps(ROW)[:50]])
    with pytest.raises(DataError, match="no such file of questions"):
        list(when2call.samples(when2call.Settings(path=str(tmp_path / "none.jsonl"))))


def test_real_rows(shared_data: Path) -> None:
    for module in (when2call, when2call_generation):
        real = list(module.samples(module.Settings(path=str(shared_data / "when2call" / "nvidia_test_dev.jsonl"))))
        assert len(real) == 151
        assert all(math.isfinite(len(sample.tools)) for sample in real)
    assert sum(not sample.tools for sample in real) == 8
