"""What another version of calltune wrote is read where it can be, and else is one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from calltune.errors import RunFolderError
from calltune.files.json_lines import write_json
from calltune.files.state import (
    Fetched,
    History,
    Manifest,
    ResultFile,
    RunConfig,
    State,
    Tracking,
    read_noun,
    read_state,
)
from calltune.types import Score

RESULT: dict[str, Any] = {
    "benchmark": "when2call",
    "checkpoint": "base",
    "prompt": "chat_template",
    **dict.fromkeys(("num_samples", "num_correct", "num_wrong", "num_malformed", "num_truncated", "num_errors"), 1),
    "primary_metric": "acc",
    "metrics": {"acc": 0.5, "none": None},
    "intervals": {"acc": [0, 1], "none": None},
    "confusion": {"acc": {"labels": ["a", "b"], "counts": [[1, 0], [0, 1]]}},
    "versions": {"calltune": "0.1.0"},
    "data_sha256": "00",
}
GOOD: dict[type[State], dict[str, Any]] = {
    ResultFile: RESULT,
    Manifest: {"inputs": {"seed": 0}, "sha256": {"a": "00"}},
    History: {"log": [{"step": 1, "loss": 2.5}]},
    RunConfig: {"name": "toy", "model": "m", "stages": ["sft"], "mine": {"rounds": 2}},
    Tracking: {"store": ["uri", "calltune"], "parent": "1", "stages": {"sft": {"run": "2", "inputs": "00"}}},
}


def told(path: Path, shape: type[State], value: Any) -> str:
    path.write_text(json.dumps(value))
    with pytest.raises(RunFolderError) as caught:
        read_state(path, shape)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    assert line.endswith(shape.mend)
    return line


def problem_of(path: Path, shape: type[State]) -> str | None:
    try:
        read_state(path, shape)
    except RunFolderError as error:
        return str(error)
    return None


@pytest.mark.parametrize("shape", GOOD, ids=lambda shape: shape.__name__)
def test_a_file_may_hold_more_than_this_version_knows(tmp_path: Path, shape: type[State]) -> None:
    path = tmp_path / "state.json"
    write_json(path, {**GOOD[shape], "of_tomorrow": [1]})
    read = read_state(path, shape)
    assert {key: read[key] for key in GOOD[shape]} == GOOD[shape]
    assert read["of_tomorrow"] == [1]


@pytest.mark.parametrize("shape", GOOD, ids=lambda shape: shape.__name__)
@pytest.mark.parametrize("value", [[], [1], "text", 3, None, True])
def test_what_is_no_object_is_one_line(tmp_path: Path, shape: type[State], value: object) -> None:
    assert "where an object was expected" in told(tmp_path / "state.json", shape, value)


def test_every_field_missing_or_of_another_kind_is_read_or_one_line(tmp_path: Path) -> None:
    path, num_lines = tmp_path / "state.json", 0
    for shape, good in GOOD.items():
        for key in good:
            without = {name: value for name, value in good.items() if name != key}
            if shape.model_fields[key].is_required():
                assert f"'{key}' is missing" in told(path, shape, without)
            else:
                for value in (without, {**good, key: None}):
                    write_json(path, value)
                    assert read_state(path, shape).get(key, "absent") in ("absent", {})
            for other in (["x"], {"x": "y"}, "x", -1.5):
                path.write_text(json.dumps({**good, key: other}))
                line = problem_of(path, shape)
                num_lines += line is not None
                assert line is None or f"'{key}" in line
    assert num_lines > 60


def test_tables_have_the_rows_and_columns_of_their_labels(tmp_path: Path) -> None:
    for counts in ([[1]], [[1, 2], [3, 4], [5, 6]], [[1, 2, 3]]):
        table = {"acc": {"labels": ["a", "b"], "counts": counts}}
        line = told(tmp_path / "result.json", ResultFile, {**RESULT, "confusion": table})
        assert "'confusion.acc' is wrong: it has other rows or columns than labels" in line


def test_the_version_that_wrote_it_is_told_when_it_is_newer(tmp_path: Path) -> None:
    newer = {**RESULT, "metrics": [], "versions": {"calltune": "12.3.0"}}
    line = told(tmp_path / "result.json", ResultFile, newer)
    assert "; calltune 12.3.0 wrote it, and this is " in line
    # The numbers of commits after a release are no part of it.
    for version in ("0.0.9", "0.1.dev700+g1a2b3c4", "0.1.0.dev3"):
        older = {**RESULT, "metrics": [], "versions": {"calltune": version}}
        assert "wrote it" not in told(tmp_path / "result.json", ResultFile, older)


def test_another_run_cannot_name_folders_outside(tmp_path: Path) -> None:
    assert "'stages.0' is wrong" in told(
        tmp_path / "config.json", RunConfig, {"name": "x", "model": "m", "stages": ["../../etc"]}
    )


def test_a_row_with_more_fields_is_read_and_one_with_fewer_is_one_line() -> None:
    row = {"sample_id": "a", "value": 1.0, "label": "direct", "reason": ""}
    assert read_noun(Score, {**row, "of_tomorrow": 1}, "f:1") == Score("a", 1.0, "direct")
    del row["label"]
    with pytest.raises(RunFolderError, match=r"^f:1: 'label' is missing$"):
        read_noun(Score, row, "f:1")


def test_a_file_says_what_to_do_however_it_is_damaged(tmp_path: Path) -> None:
    for shape in (History, RunConfig, ResultFile, Fetched):
        path = tmp_path / f"{shape.__name__}.json"
        path.write_text('{"cut')
        with pytest.raises(RunFolderError) as caught:
            read_state(path, shape)
        assert str(caught.value) == f"{path}: is damaged; {shape.mend}"
    assert "remove" not in History.mend


def test_what_was_fetched_is_named_by_texts(tmp_path: Path) -> None:
    write_json(tmp_path / "fetched.json", {"sft": "job-1"})
    assert read_state(tmp_path / "fetched.json", Fetched) == {"sft": "job-1"}
    assert "'sft' is no job's name" in told(tmp_path / "fetched.json", Fetched, {"sft": ["job-1"]})
