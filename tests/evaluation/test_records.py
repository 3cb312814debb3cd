"""What is left of an evaluation on disk: kept where it is whole, told where it is not."""

import json
from pathlib import Path

import pytest

from calltune.evaluation.answers import completion_from
from calltune.evaluation.records import can_be_kept, has_rows_of, mend
from calltune.files import manifest
from calltune.files.json_lines import write_jsonl
from calltune.types import Completion

IDS = ["a", "b", "c"]


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
        "warning: 2 rows cannot be read and are asked again; the first, a completion: 'message' is missing; run "
        "evaluate again with this version of calltune, or report with the one that wrote it",
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
    assert has_rows_of(IDS, file)
    whole = file.read_text()
    lines = whole.splitlines(keepends=True)
    for text, problem in (
        (lines[0], "lacks 2 of 3 questions, the first 'b'"),
        (whole + lines[1], "line 4 answers 'b' once more"),
        (whole.replace('"b"', '"x"', 1), "line 2 answers 'x', which is not asked"),
        (whole[:-9] + "\n", "line 3: not valid JSON"),
        ("[]\n", "line 1: a JSON object was expected"),
    ):
        file.write_text(text)
        assert not has_rows_of(IDS, file)
        line = capsys.readouterr().out
        assert line.startswith(f"{file}: {problem}")
        assert line.count("\n") == 1
    assert not has_rows_of(IDS, file.with_name("none.jsonl"))


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
