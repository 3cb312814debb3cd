"""A report as MLflow's pages show it, read back from its sqlite store."""

from pathlib import Path

import pytest
from planted_run import plant_run, run_file

from calltune.config.run_file import load_config
from calltune.errors import GateError
from calltune.evaluation.answers import answered, score_from
from calltune.evaluation.benchmarks import when2call_generation
from calltune.files.json_lines import read_json, read_own_jsonl
from calltune.files.tracking import track
from calltune.report.in_mlflow import answer_table
from calltune.verbs import report


def test_the_parent_carries_figures_deltas_and_the_verdict(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    folder = plant_run(tmp_path / "toy", 24)
    rules = '[gate]\nrules = ["when2call.acc_norm >= 0", "when2call.acc_norm >= 1"]\n'
    config = load_config(run_file(folder, rules), ["tracking.mlflow=true"])
    with track(config, "sft", {}):
        pass
    with pytest.raises(GateError):
        report.run(config)
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    (parent,) = client.search_runs(["1"], "attributes.run_name = 'toy'")
    metrics, tags = parent.data.metrics, parent.data.tags
    there = read_json(folder / "report.json")
    results = {(row["benchmark"], row["checkpoint"]): row["metrics"] for row in there["results"]}
    base, dpo = results["when2call", "base"]["acc_norm"], results["when2call", "dpo"]["acc_norm"]
    assert metrics["when2call.acc_norm"] == pytest.approx(dpo)
    assert metrics["when2call.acc_norm.delta"] == pytest.approx(dpo - base)
    low, high = metrics["when2call.acc_norm.delta_low"], metrics["when2call.acc_norm.delta_high"]
    assert low < metrics["when2call.acc_norm.delta"] < high
    assert metrics["when2call_generation.behavior_accuracy"] == pytest.approx(
        results["when2call_generation", "dpo"]["behavior_accuracy"]
    )
    assert (tags["calltune.checkpoint"], tags["calltune.against"]) == ("dpo", "base")
    assert (tags["calltune.verdict"], tags["calltune.gate"]) == (there["verdict"]["title"], "broken")
    assert tags["calltune.ship"] == "none"
    told = ["kept: when2call.acc_norm >= 0", "broken: when2call.acc_norm >= 1"]
    assert tags["calltune.gate.rules"].splitlines() == told
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {"report.json", "report.html"}


def test_the_table_counts_what_the_result_counts(tmp_path: Path) -> None:
    folder = plant_run(tmp_path / "toy", 24)
    samples = list(when2call_generation.samples(when2call_generation.Settings(path=str(folder / "data/test.jsonl"))))
    place = folder / "eval" / "base" / "when2call_generation"
    done = answered(place / "completions.jsonl")
    scores = [score_from(row, where) for where, row in read_own_jsonl(place / "scores.jsonl")]
    table = answer_table(samples, [done[sample.id] for sample in samples], scores, "base")
    result = read_json(place / "result.json")
    counted = {word: table["verdict"].count(word) for word in ("correct", "wrong", "malformed", "truncated")}
    assert counted == {word: result[f"num_{word}"] for word in counted}
    assert counted["wrong"] > 0 < counted["malformed"]
    assert table["id"] == [sample.id for sample in samples]
    assert "Question 5: please book a room in City 5." in table["question"][5]
    assert table["expected"][0] == "direct"
    assert set(table["checkpoint"]) == {"base"}
    assert {len(column) for column in table.values()} == {24}
