"""A run's folder of another version, or with altered files: a report of what can be read, or one line."""

import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from planted_run import plant_run, run_file

from calltune.cli import main
from calltune.files import manifest
from calltune.files.json_lines import write_json

EXACT = ("when2call", "when2call_generation")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant_run(tmp_path_factory.mktemp("planted") / "toy", number=8, skill={"base": 0.3, "sft": 0.8})


def ended(folder: Path, capsys: pytest.CaptureFixture[str], extra: str = "") -> tuple[int, str, str]:
    code = main(["report", str(run_file(folder, extra))])
    out, error = capsys.readouterr()
    return code, out, error


def altered(document: Any) -> Iterator[Any]:
    """The document with each of its fields missing, null, or of another kind."""
    yield from ([], {}, None, "text")
    for key in document:
        rest = {name: value for name, value in document.items() if name != key}
        yield rest
        yield from ({**rest, key: other} for other in (None, "text", -1.5, ["x"], {"x": "y"}))


def test_every_altered_state_is_read_or_one_line(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "toy"
    shutil.copytree(planted, folder)
    files = sorted(folder.rglob("*.json")) + sorted(folder.glob("eval/*/*/*.jsonl"))
    assert len(files) > 12
    cases = []
    for file in files:
        first = json.loads(file.read_text().splitlines()[0] if file.suffix == ".jsonl" else file.read_text())
        cases += [(file, value) for value in altered(first)]
    # Some of some hundred, others whenever the file changes.
    chosen = random.Random(len(cases)).sample(cases, 60)
    codes = []
    for file, value in chosen:
        whole = file.read_text()
        rest = whole.splitlines(keepends=True)[1:] if file.suffix == ".jsonl" else []
        file.write_text(json.dumps(value) + "\n" + "".join(rest))
        code, _, error = ended(folder, capsys)
        codes.append(code)
        assert code in (0, 2), (file, value)
        assert error.count("\n") == (code == 2), (file, value, error)
        if code == 2:
            assert error.startswith(
                (f"calltune: {folder}", "calltune: base on when2call", "calltune: sft on when2call")
            )
        file.write_text(whole)
    assert {*codes} == {0, 2}


@pytest.mark.parametrize("field", ["logprobs", "num_characters"])
def test_an_answer_without_likelihoods_is_one_line(
    field: str, planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "toy"
    shutil.copytree(planted, folder)
    file = folder / "eval" / "sft" / "when2call" / "completions.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    del rows[2][field]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, error = ended(folder, capsys)
    assert code == 2
    assert error == (
        f"calltune: {file}:3: '{field}.direct' is missing; run evaluate again, which asks what is not whole\n"
    )


def set_version(file: Path, version: str, change: Callable[[dict], None] = lambda _: None) -> None:
    table = json.loads(file.read_text())
    table["versions"]["calltune"] = version
    change(table)
    write_json(file, table)


def test_a_newer_calltune_s_run_is_told_once(planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine, newer = tmp_path / "toy", tmp_path / "newer"
    for folder in (mine, newer):
        shutil.copytree(planted, folder)
    write_json(newer / "config.json", {**json.loads((newer / "config.json").read_text()), "name": "newer"})
    for title in EXACT:
        for checkpoint in ("base", "sft"):
            place = newer / "eval" / checkpoint / title
            set_version(place / "result.json", "12.3.0", lambda table: table.update(of_tomorrow=1))
            set_version(place / "manifest.json", "12.3.0")
    code, out, _ = ended(mine, capsys, f'[report]\ncompare = ["{newer}"]\n')
    assert code == 0
    told = [line for line in out.splitlines() if "12.3.0" in line]
    assert len(told) == 1
    assert re.search(
        r"newer:sft on when2call, newer:sft on when2call_generation was measured by calltune 12\.3\.0, newer than this "
        r".*: what that added is not shown",
        told[0],
    )
    # What this version cannot read names the version that could.
    file = newer / "eval" / "sft" / "when2call" / "completions.jsonl"
    file.write_text(file.read_text().replace('"status"', '"state"'))
    code, _, error = ended(mine, capsys, f'[report]\ncompare = ["{newer}"]\n')
    assert code == 2
    assert f"{file}:1: 'status' is missing; calltune 12.3.0 wrote it, and this is " in error
    assert error.count("\n") == 1


def test_a_sealed_file_beside_the_results_is_shown_as_sealed_or_not(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "toy"
    shutil.copytree(planted, folder)
    stage, inputs = folder / "sft", {"seed": 0}
    manifest.finish(stage, inputs, counts={"rows": 9}, steps=4)
    history = (stage / "history.json").read_text()
    (stage / "history.json").write_text(history.replace("2.0", "1.0"))
    code, out, _ = ended(folder, capsys)
    assert code == 0
    assert f"not shown: {stage}: history.json was altered: it is not as it was sealed; the curves of this stage " in out
    # Nobody trains for hours again to have curves.
    assert manifest.is_complete(stage, inputs)
    assert "the report leaves its curves out; the stage is complete all the same" in capsys.readouterr().out
    (stage / "history.json").unlink()
    assert manifest.is_complete(stage, inputs)
