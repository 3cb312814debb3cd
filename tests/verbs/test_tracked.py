"""A small run, tracked: what its MLflow runs hold when the stages are done."""

from collections.abc import Callable
from pathlib import Path

import pytest

from calltune.config.run_file import load_config
from calltune.files.json_lines import read_json
from calltune.files.manifest import read_manifest
from calltune.verbs import evaluate, prepare, report, sft


# MLflow's client, as it is imported.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_run_s_pages_hold_its_keys_data_answers_and_figures(
    write_run_file: Callable[..., Path], tmp_path: Path
) -> None:
    from mlflow.tracking import MlflowClient

    overrides = ["stages=['sft']", "sft.max_steps=2", "sft.learning_rate=1e-3", "tracking.mlflow=true"]
    config = load_config(write_run_file(), overrides)
    for verb in (prepare, sft, evaluate):
        verb.run(config)
    report.run(config)
    client, folder = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}"), config.run_folder
    runs = {run.info.run_name: run for run in client.search_runs(["1"])}
    parent, stage, asked = runs["toy"], runs["toy-sft"], runs["toy-evaluate-sft-when2call_generation"]

    assert parent.data.params["sft.max_steps"] == "2"
    assert parent.data.params["data.sources.0.num_examples"] == "24"
    assert parent.data.metrics["when2call.acc_norm"] == runs["toy-evaluate-sft-when2call"].data.metrics["acc_norm"]
    assert "when2call.acc_norm.delta" in parent.data.metrics
    assert parent.data.tags["calltune.gate"] == "none"

    told = stage.data.params
    assert (told["max_steps"], told["learning_rate"], told["report_to"]) == ("2", "0.001", "[]")
    assert not {"adam_beta1", "weight_decay", "lr_scheduler_type", "max_grad_norm"} & told.keys()
    assert len(told) < 50

    sha256 = read_manifest(folder / "data")["sha256"]
    (rows,) = [each.dataset for each in stage.inputs.dataset_inputs]
    assert rows.digest == sha256[rows.name][:36]
    names = {each.dataset.name for each in parent.inputs.dataset_inputs}
    assert names == {rows.name, "when2call", "when2call_generation"}

    result = read_json(folder / "eval" / "sft" / "when2call_generation" / "result.json")
    table = client.load_table("1", "answers.json", run_ids=[asked.info.run_id])
    assert len(table) == result["num_samples"] > 0
    assert (table["verdict"] == "malformed").sum() == result["num_malformed"]
    assert set(table["checkpoint"]) == {"sft"}
