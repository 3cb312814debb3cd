import json
import shutil
from pathlib import Path

import pytest
from planted_run import plant_run, run_file

from calltune.cli import main
from calltune.config.run_file import load_config
from calltune.errors import ConfigError, GateError, RunFolderError
from calltune.files.json_lines import write_json
from calltune.files.state import ResultFile
from calltune.verbs import report


def reported(folder: Path, extra: str = "") -> dict:
    return json.loads(report.run(load_config(run_file(folder, extra))).read_text())


def test_the_ladder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = plant_run(tmp_path / "toy")
    # Not finished, so not reported.
    (folder / "eval" / "sft" / "when2call" / "manifest.json").unlink()
    report.run(load_config(run_file(folder)), full=True)
    written = json.loads((folder / "report.json").read_text())
    named = [(result["benchmark"], result["checkpoint"]) for result in written["results"]]
    assert named[:2] == [("when2call", "base"), ("when2call", "dpo")]
    assert ("when2call_generation", "sft") in named
    shown = capsys.readouterr().out
    assert shown.index("acc_norm") < shown.index("acc ")
    assert "when2call acc_norm: base → dpo" in shown
    assert written["headline"]["text"] in shown
    assert "better at picking the right one of four written answers (when2call: +" in written["headline"]["text"]


def test_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="nothing was evaluated yet"):
        reported(tmp_path / "toy")


def test_everything_the_page_shows_is_in_the_file(tmp_path: Path) -> None:
    written = reported(plant_run(tmp_path / "toy"))
    assert len(written["comparisons"]) == 6
    assert all(comparison["flips"] for comparison in written["comparisons"])
    assert set(written["operating_points"]["when2call"]) == {"base", "sft", "dpo"}
    assert written["training"]["sft"][0] == {"step": 1, "loss": 2.0, "rewards/margins": 0.1}
    assert set(written["stages"]) == {"data", "sft", "dpo"}
    assert sum(written["labels"]["when2call_generation"]["dpo"].values()) == 40
    assert written["gate"]["passed"] is None
    assert written["published"] is None


GATE = '[gate]\nrules = ["when2call.acc_norm >= {}", "when2call_generation.malformed_rate <= 0.5"]\n'


def test_the_gate_lets_a_planted_gain_through(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = plant_run(tmp_path / "toy", skill={"base": 0.2, "sft": 0.5, "dpo": 0.9})
    assert main(["report", str(run_file(folder, GATE.format("+2"))), "--full"]) == 0
    gate = json.loads((folder / "report.json").read_text())["gate"]
    assert (gate["passed"], gate["checkpoint"], gate["against"]) == (True, "dpo", "base")
    first = gate["rulings"][0]
    assert first["interval"][0] < first["value"] < first["interval"][1]
    assert first["value"] > 2
    told = capsys.readouterr().out
    assert "FAIL" not in told
    assert "pass" in told


def test_the_gate_stops_a_planted_loss_and_the_report_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = plant_run(tmp_path / "toy", skill={"base": 0.9, "sft": 0.5, "dpo": 0.2})
    assert main(["report", str(run_file(folder, GATE.format("-1")))]) == 3
    error = capsys.readouterr().err
    assert error == "calltune: gate: dpo breaks 1 of 2 rules: when2call.acc_norm >= -1\n"
    gate = json.loads((folder / "report.json").read_text())["gate"]
    assert [ruling["passed"] for ruling in gate["rulings"]] == [False, True]
    assert "Gate not passed" in (folder / "report.html").read_text()


def test_a_gain_within_noise_is_not_enough_when_the_interval_decides(tmp_path: Path) -> None:
    skill = {"base": 0.5, "dpo": 0.6}
    folder = plant_run(tmp_path / "toy", skill=skill)
    rules = '[gate]\nrules = ["when2call_generation.behavior_accuracy >= -20"]\ndecide_by = '
    assert reported(folder, rules + '"value"')["gate"]["passed"]
    with pytest.raises(GateError):
        reported(folder, '[gate]\nrules = ["when2call_generation.behavior_accuracy > +0"]\ndecide_by = "interval"')


def test_a_rule_may_look_back_to_another_checkpoint_or_run(tmp_path: Path) -> None:
    plant_run(tmp_path / "other", skill={"base": 0.3, "sft": 0.4, "dpo": 0.5})
    folder = plant_run(tmp_path / "toy")
    rules = f'[report]\ncompare = ["{tmp_path}/other"]\n[gate]\nrules = ["when2call.acc_norm >= +0"]\n'
    against = reported(folder, rules + 'against = "other:dpo"')["gate"]
    assert against["passed"]
    assert against["rulings"][0]["interval"] is not None
    with pytest.raises(GateError):
        reported(folder, rules + 'against = "dpo"\ncheckpoint = "sft"')


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ('[gate]\nrules = ["when2call.acc_nrm >= +2"]', "unknown metric 'acc_nrm', did you mean 'acc_norm'?"),
        ('[report]\ncompare = ["nowhere"]', "nowhere is not the folder of a run"),
        ('[report]\ncompare = ["{folder}"]', "is this run itself"),
    ],
)
def test_wrong_names_are_one_line(tmp_path: Path, extra: str, message: str) -> None:
    folder = plant_run(tmp_path / "toy")
    with pytest.raises(ConfigError) as told:
        reported(folder, extra.replace("{folder}", str(folder)))
    assert message in str(told.value)
    assert "\n" not in str(told.value)
    assert not (folder / "report.json").exists()


def test_a_rule_without_anything_to_compare_is_broken(tmp_path: Path) -> None:
    folder = plant_run(tmp_path / "toy", skill={"base": 0.5})
    with pytest.raises(GateError, match="base breaks 1 of 1 rules"):
        reported(folder, '[gate]\nrules = ["when2call.acc_norm >= +0"]')
    assert json.loads((folder / "report.json").read_text())["headline"]["text"].startswith("Only base was measured")


def test_results_stay_when_the_questions_are_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = plant_run(tmp_path / "toy")
    shutil.move(folder / "data" / "test.jsonl", folder / "data" / "moved.jsonl")
    written = reported(folder)
    assert len(written["results"]) == 6
    assert written["comparisons"] == []
    assert "warning: when2call: no comparisons and no examples, as " in capsys.readouterr().out


def test_changed_questions_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = plant_run(tmp_path / "toy")
    file = folder / "data" / "test.jsonl"
    file.write_text(file.read_text().replace("City 1?", "City 2?").replace("Question 5", "Question five"))
    reported(folder)
    assert "the questions have changed since they were asked; run evaluate again" in capsys.readouterr().out


def test_a_lost_score_is_named(tmp_path: Path) -> None:
    folder = plant_run(tmp_path / "toy")
    file = folder / "eval" / "dpo" / "when2call" / "scores.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(RunFolderError, match=r"dpo/when2call/scores.jsonl: holds no row for question 'q-39'"):
        reported(folder)


def test_a_metric_that_the_benchmark_does_not_know_is_named(tmp_path: Path) -> None:
    folder = plant_run(tmp_path / "toy")
    file = folder / "eval" / "sft" / "when2call" / "result.json"
    file.write_text(file.read_text().replace('"macro_f1_asked"', '"macro_f1_of_old"'))
    with pytest.raises(RunFolderError) as told:
        reported(folder)
    assert str(told.value) == (
        f"{file}: calltune.evaluation.benchmarks.when2call: METRICS says nothing of the metric 'macro_f1_of_old'; "
        "remove it and run evaluate again"
    )
    assert not (folder / "report.json").exists()


def test_a_figure_that_is_missing_is_named(tmp_path: Path) -> None:
    folder = plant_run(tmp_path / "toy")
    file = folder / "eval" / "sft" / "when2call" / "result.json"
    file.write_text(file.read_text().replace('"num_truncated"', '"num_cut_off"'))
    with pytest.raises(RunFolderError) as told:
        reported(folder)
    assert str(told.value) == f"{file}: 'num_truncated' is missing; {ResultFile.mend}"


def test_published_figures_stand_beside_the_same_model(tmp_path: Path) -> None:
    folder = plant_run(tmp_path / "toy")
    file = run_file(folder)
    file.write_text(file.read_text().replace('model = "m"', 'model = "Qwen/Qwen3-0.6B"'))
    report.run(load_config(file))
    page = (folder / "report.html").read_text()
    assert "AWS Machine Learning Blog" in page
    assert "62.0" in page
    assert "not the same questions as the 40 here" in page


def test_the_doctor_is_shown_when_it_was_there(tmp_path: Path) -> None:
    folder = plant_run(tmp_path / "toy")
    counts = {"read": 1_003, "kept": 1_000, "repeated": 0, "rejected": {"invalid_call": 3}}
    leaks = {
        "by_tools": None,
        "option_rule": None,
        "tools_offered_often": 4,
        "tools_with_one_behavior": {"<b>": "direct"},
    }
    tokens = {"tokens": 9_000, "tokens_trained_on": 450, "median": 8, "longest": 20, "too_long": []}
    found = {"rejected": True, "rows": [{"id": "log.jsonl:7", "source": "logs", "reason": "no such tool <b>"}] * 3}
    doctor = {
        "rows": {"logs": counts},
        "behaviors": {"sft": {"logs": {"tool_call": 700, "direct": 300}}},
        "findings": {"invalid_call": found},
        "changes": {"type_name": 12},
        "leaks": leaks,
        "tokens": {"sft": tokens},
        "notes": ["it gives it away: '<b>' with direct", "sft: rows have 8 tokens in the median"],
    }
    write_json(folder / "data" / "doctor.json", doctor)
    assert reported(folder)["doctor"] == doctor
    page = (folder / "report.html").read_text()
    for shown in (
        "1,003",
        "invalid call 3",
        "log.jsonl:7: no such tool &lt;b&gt;",
        "type name 12",
        "&#39;&lt;b&gt;&#39; with direct",
    ):
        assert shown in page
    assert "sft: rows have 8 tokens in the median" in page
    # A file that an older version wrote holds no notes.
    del doctor["notes"]
    write_json(folder / "data" / "doctor.json", doctor)
    assert reported(folder)["doctor"] == doctor


def test_another_run_alone_is_no_report(tmp_path: Path) -> None:
    plant_run(tmp_path / "other")
    with pytest.raises(RunFolderError, match="nothing was evaluated yet"):
        reported(tmp_path / "toy", f'[report]\ncompare = ["{tmp_path}/other"]')


def test_a_rule_is_not_decided_over_other_questions(tmp_path: Path) -> None:
    plant_run(tmp_path / "other", number=12)
    folder = plant_run(tmp_path / "toy")
    rules = f'[report]\ncompare = ["{tmp_path}/other"]\n[gate]\nagainst = "other:dpo"\n'
    with pytest.raises(GateError):
        reported(folder, rules + 'rules = ["when2call.acc_norm >= -100"]')
    ruling = json.loads((folder / "report.json").read_text())["gate"]["rulings"][0]
    assert ruling["reason"] == "other:dpo was asked other questions than dpo"


def test_without_a_base_the_first_checkpoint_is_compared_with(tmp_path: Path) -> None:
    folder = plant_run(tmp_path / "toy", skill={"sft": 0.2, "dpo": 0.9})
    assert reported(folder)["headline"]["text"].startswith("On the same questions, dpo against sft: better at")
