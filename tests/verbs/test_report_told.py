"""What the terminal shows of a report, and reports of folders."""

import json
import shutil
from pathlib import Path

import pytest
from planted_run import plant_run, run_file

from calltune.cli import main
from calltune.config.run_file import load_config
from calltune.files.json_lines import write_json


def whole_run(folder: Path, **planted: object) -> Path:
    """A planted run whose `config.json` is that of a run, as the stages write it."""
    plant_run(folder, **planted)  # type: ignore[arg-type]
    write_json(folder / "config.json", load_config(run_file(folder)).model_dump(mode="json"))
    return folder


def told(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, list[str]]:
    code = main(list(map(str, words)))
    out, error = capsys.readouterr()
    return code, (out + error).splitlines()


def test_the_verdict_and_a_row_per_benchmark_come_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = run_file(plant_run(tmp_path / "toy", 80, {"base": 0.2, "sft": 0.5, "dpo": 0.9}))
    code, lines = told(capsys, "report", file)
    assert code == 0
    assert lines[0].startswith("Ship: Better beyond chance: when2call +")
    assert lines[1].startswith("dpo decides rightly in ")
    rows = [line.split("\N{BOX DRAWINGS LIGHT VERTICAL}")[1].strip() for line in lines if line.startswith("\u2502")]
    assert rows == ["when2call acc_norm", "when2call_generation behavior_accuracy"]
    assert len(lines) < 20
    assert lines[-3].startswith("report: ")
    assert lines[-3].endswith(" s; --full tells every figure")
    assert lines[-2:] == [f"page: {tmp_path}/toy/report.html", f"next: calltune export {file}"]
    code, full = told(capsys, "report", file, "--full")
    assert len(full) > 40
    assert full[:2] == lines[:2]
    assert any("macro_f1_norm" in line for line in full)


@pytest.mark.parametrize(
    ("skill", "number", "command"),
    [
        ({"base": 0.9, "dpo": 0.2}, 80, "calltune report {} --full"),
        ({"base": 0.1, "sft": 0.9, "dpo": 0.4}, 80, "calltune export {} export.checkpoint=sft"),
        ({"base": 0.5, "dpo": 0.5}, 4, "calltune evaluate {}, once the benchmarks hold more questions"),
        ({"base": 0.5}, 80, "calltune run {}"),
        (
            {"sft": 0.5},
            80,
            """calltune evaluate {} 'evaluate.checkpoints=["base", "sft"]', for something to compare it with""",
        ),
    ],
)
def test_the_next_command_fits_the_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], skill: dict, number: int, command: str
) -> None:
    file = run_file(plant_run(tmp_path / "toy", number, skill))
    _, lines = told(capsys, "report", file, "seed=3")
    assert lines[-1] == f"next: {command.format(f'{file} seed=3')}"


def test_the_better_checkpoint_is_named_wherever_a_verdict_stands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = run_file(whole_run(tmp_path / "toy", number=80, skill={"base": 0.1, "sft": 0.9, "dpo": 0.4}))
    code, lines = told(capsys, "report", file)
    assert code == 0
    assert lines[0].startswith("Ship sft, not dpo: dpo is worse than sft beyond chance: ")
    (columns,) = [line for line in lines if "questions" in line and "change" in line]
    assert columns.index("base") < columns.index("sft") < columns.index("dpo") < columns.index("change")
    page = (tmp_path / "toy" / "report.html").read_text()
    assert '<p class="word">Ship sft, not dpo</p>' in page
    assert report_of(tmp_path / "toy")["verdict"]["better"] == "sft"
    (run,) = json.loads(told(capsys, "list", tmp_path, "--json")[1][0])["runs"]
    assert run["state"] == "Ship sft, not dpo"


def test_folders_of_runs_stand_in_for_run_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (whole_run(tmp_path / "runs" / name, number=40) for name in ("a", "b"))
    (tmp_path / "runs" / "a.toml").unlink()
    code, lines = told(capsys, "report", second, "seed=3")
    assert code == 0
    # Nothing needs to be laid over the file of a run that lies where it was made.
    assert f" {second}/config.json seed=3" in lines[-1]
    # A run's folder may have been moved and renamed.
    moved = tmp_path / "elsewhere" / "c"
    moved.parent.mkdir()
    shutil.move(first, moved)
    assert told(capsys, "report", moved)[0] == 0
    assert {result["checkpoint"] for result in report_of(moved)["results"]} == {"base", "sft", "dpo"}
    assert told(capsys, "report", moved, second, "--full")[0] == 0
    assert {result["checkpoint"] for result in report_of(moved)["results"]} >= {"dpo", "b:sft", "b:dpo"}
    assert report_of(moved)["name"] == "c"
    assert not first.exists()
    (tmp_path / "empty").mkdir()
    message = f"calltune: {tmp_path}/empty: is not the folder of a run (it holds no config.json)"
    assert told(capsys, "report", tmp_path / "empty", second) == (2, [message])
    assert told(capsys, "report", second, second)[1] == [f"calltune: report.compare: {second} is this run itself"]


def report_of(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


def test_runs_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = tmp_path / "runs"
    reported, trained, begun = whole_run(runs / "a"), whole_run(runs / "b"), runs / "c"
    write_json(begun / "config.json", {"name": "c", "model": "m", "stages": [], "plan": {"price_per_hour": 3600.0}})
    shutil.rmtree(trained / "eval")
    (runs / "d").mkdir()
    (runs / "d" / "config.json").write_text("{")
    told(capsys, "report", run_file(reported))
    code, lines = told(capsys, "list", runs, "--json")
    assert code == 0
    rows = {row["name"]: row for row in json.loads(lines[0])["runs"]}
    tile = report_of(reported)["verdict"]["tiles"][0]
    assert rows["a"]["state"] == report_of(reported)["verdict"]["word"]
    assert (rows["a"]["score"], rows["a"]["score_before"]) == (tile["after"], tile["before"])
    assert rows["a"]["seconds"] == 9.0
    assert (rows["b"]["state"], rows["b"]["score"], rows["b"]["usd"]) == ("dpo trained", None, None)
    assert (rows["c"]["state"], rows["c"]["usd"]) == ("begun", 0.0)
    assert rows["d"]["state"].startswith(f"cannot be read: {runs}/d/config.json")
    assert len(told(capsys, "list", runs)[1]) > 6
    assert told(capsys, "list", runs / "a")[0] == 0
    assert told(capsys, "list", runs / "d" / "no") == (2, [f"calltune: {runs}/d/no: no such folder of runs"])
