"""What is left of an evaluation on disk: kept where it is whole, told where it is not."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from calltune.errors import RunFolderError
from calltune.evaluation.answers import completion_from, completions_of
from calltune.evaluation.records import can_be_kept, is_whole, mend
from calltune.files import manifest
from calltune.files.json_lines import write_json, write_jsonl
from calltune.types import Completion, Message, Sample, Score

IDS = ["a", "b", "c"]
RESULT = {
    "benchmark": "when2call",
    "checkpoint": "base",
    "prompt": "chat_template",
    **dict.fromkeys(("num_samples", "num_correct", "num_wrong", "num_malformed", "num_truncated", "num_errors"), 1),
    "primary_metric": "acc",
    "metrics": {"acc": 0.5},
    "data_sha256": "00",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Completions of three questions, sealed."""
    path = tmp_path / "when2call" / "completions.jsonl"
    manifest.begin(path.parent, {})
    write_jsonl(path, [Completion(sample_id, None, f"answer {sample_id}", "ok") for sample_id in IDS])
    manifest.finish(path.parent, {})
    return path


def ids_in(file: Path) -> list[str]:
    return [json.loads(line)["sample_id"] for line in file.read_text().splitlines()]


def test_whole_rows_stay_and_what_goes_is_told(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, third = file.read_text().splitlines(keepends=True)
    foreign = second.replace('"b"', '"nobody asked"', 1)
    fewer = json.dumps({"sample_id": "b", "text": ""}) + "\n"
    more = first.replace("{", '{"of_tomorrow": 1, ', 1)
    file.write_text(more + foreign + fewer + "no JSON\n" + third[:20])
    mend(file, IDS, completion_from)
    assert ids_in(file) == ["a"]
    told = capsys.readouterr().out.splitlines()
    assert told == [
        f"warning: 2 rows cannot be read and are asked again; the first, {file}:3: 'message' is missing",
        f"warning: {file}: 1 rows answer questions that are not asked, the first 'nobody asked'; they are left out",
    ]
    mend(file, IDS, completion_from)
    assert capsys.readouterr().out == ""


def test_the_files_of_several_processes_are_mended_too(file: Path) -> None:
    part = file.with_stem("completions-1")
    part.write_text(file.read_text() + "broken\n")
    mend(file, ["a", "b"], completion_from)
    assert ids_in(file) == ids_in(part) == ["a", "b"]


def test_rows_are_those_of_the_questions(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = [Sample(sample_id, "toy", (), (), "") for sample_id in IDS]
    write_json(file.with_name("result.json"), RESULT)
    write_jsonl(file.with_name("scores.jsonl"), [Score(sample_id, 1.0, "right") for sample_id in IDS])

    def sum_up(completions: list[Completion], scores: list[Score]) -> None:
        assert [completion.sample_id for completion in completions] == IDS
        if unknown := {score.label for score in scores} - {"right"}:
            raise ValueError(f"labels outside right: {unknown}")

    def is_told() -> str:
        assert not is_whole(file.parent, samples, sum_up)
        line = capsys.readouterr().out
        assert line.count("\n") == 1
        return line

    assert is_whole(file.parent, samples, sum_up)
    for path in (file, file.with_name("scores.jsonl")):
        whole = path.read_text()
        lines = whole.splitlines(keepends=True)
        for text, problem in (
            (lines[0], "lacks 2 of 3 questions, the first 'b'"),
            (whole + lines[1], "line 4 answers 'b' once more"),
            (whole.replace('"b"', '"x"', 1), "line 2 answers 'x', which is not asked"),
            (whole[:-9] + "\n", "line 3: not valid JSON"),
            (whole.replace('"sample_id"', '"id"', 1), "line 1: 'sample_id' is missing"),
            ("[]\n", "line 1: a JSON object was expected"),
        ):
            path.write_text(text)
            assert is_told().startswith(f"{path}: {problem}")
        path.unlink()
        assert "is missing" in is_told()
        path.write_text(whole.replace("right", "of tomorrow", 1))
        assert (path == file) == is_whole(file.parent, samples, sum_up)
        capsys.readouterr()
        path.write_text(whole)
    write_json(file.with_name("result.json"), {**RESULT, "metrics": []})
    assert "result.json: 'metrics' is wrong" in is_told()


def test_an_answer_has_a_likelihood_of_each_choice(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    choices = {label: Message("assistant", label) for label in ("direct", "tool_call")}
    samples = [Sample(sample_id, "when2call", (), (), "direct", choices) for sample_id in IDS]
    logprobs, lengths = {"direct": -1.0, "tool_call": -2.0}, {"direct": 6, "tool_call": 9}
    rows = [Completion(sample_id, None, "", "ok", logprobs, lengths) for sample_id in IDS]
    rows[1] = replace(rows[1], logprobs={"direct": -1.0})
    rows[2] = replace(rows[2], num_characters={"direct": 6, "tool_call": 0})
    write_jsonl(file, rows)
    problems = []
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        try:
            completions_of(samples)(json.loads(line), f"line {number}")
        except RunFolderError as error:
            problems.append(str(error))
    assert problems == [
        "line 2: 'logprobs.tool_call' is missing",
        "line 3: 'num_characters.tool_call' is missing",
    ]
    mend(file, IDS, completions_of(samples))
    assert ids_in(file) == ["a"]
    assert "2 rows cannot be read and are asked again; the first, " in capsys.readouterr().out


def test_a_cut_file_is_built_upon_and_an_altered_one_is_not(file: Path) -> None:
    assert can_be_kept(file, IDS)
    whole = file.read_text()
    file.write_text(whole.splitlines(keepends=True)[0])
    assert can_be_kept(file, IDS)
    file.write_text(whole.replace("answer b", "answer X"))
    assert not can_be_kept(file, IDS)
    # A stage that was never complete is gone on with.
    (file.parent / "manifest.json").unlink()
    assert can_be_kept(file, IDS)
