"""What MLflow holds of a run beside its numbers, read back from its sqlite store with its own client."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from calltune.config.run_file import Config, load_config
from calltune.files.json_lines import write_json
from calltune.files.tracked import as_parameters
from calltune.files.tracking import track

ON = "tracking.mlflow=true"


def client(folder: Path):
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{folder / 'runs' / 'mlflow.db'}")


def runs(folder: Path) -> dict:
    experiment = client(folder).get_experiment_by_name("calltune")
    assert experiment is not None
    return {run.info.run_name: run for run in client(folder).search_runs([experiment.experiment_id])}


@pytest.fixture
def open_run(write_run_file: Callable[..., Path], tmp_path: Path) -> Callable[..., Config]:
    """Read the toy run file with overrides, and track a stage of it that does nothing."""

    def opened(*overrides: str, file: Path | None = None) -> Config:
        config = load_config(file or write_run_file(), [ON, *overrides])
        config.run_folder.mkdir(parents=True, exist_ok=True)
        with track(config, "sft", {}):
            pass
        return config

    return opened


def test_the_parent_carries_the_keys_that_the_user_wrote(open_run: Callable[..., Config], tmp_path: Path) -> None:
    config = open_run("sft.learning_rate=1e-4", "lora.target_modules=['q_proj', 'v_proj']", "seed=0")
    parameters = runs(tmp_path)["toy"].data.params
    assert parameters["sft.learning_rate"] == "0.0001"
    assert parameters["lora.target_modules"] == '["q_proj", "v_proj"]'
    assert parameters["seed"] == "0"
    assert parameters["data.sources.0.name"] == config.data.sources[0].name
    assert parameters["tracking.mlflow"] == "True"
    assert not {"chat_template", "tuning.precision", "plan.probe_seconds"} & parameters.keys()


def test_a_run_file_that_calltune_wrote_whole_adds_no_key(open_run: Callable[..., Config], tmp_path: Path) -> None:
    config = open_run("sft.learning_rate=1e-4")
    before = runs(tmp_path)["toy"]
    write_json(tmp_path / "whole.json", config.model_dump(mode="json"))
    open_run(file=tmp_path / "whole.json")
    after = runs(tmp_path)["toy"]
    assert (after.info.run_id, after.data.params) == (before.info.run_id, before.data.params)
    assert "calltune.changed_keys" not in after.data.tags


def test_keys_that_change_keep_the_parent_and_stand_in_a_tag(open_run: Callable[..., Config], tmp_path: Path) -> None:
    open_run("sft.learning_rate=1e-4", "sft.warmup_steps=2")
    first = runs(tmp_path)["toy"]
    open_run("sft.learning_rate=2e-4", "sft.max_steps=3")
    second = runs(tmp_path)["toy"]
    assert second.info.run_id == first.info.run_id
    assert second.data.params == {**first.data.params, "sft.max_steps": "3"}
    changed = second.data.tags["calltune.changed_keys"].splitlines()
    assert sorted(changed) == ["sft.learning_rate = 0.0002", "sft.warmup_steps = not set"]
    open_run("sft.learning_rate=1e-4", "sft.warmup_steps=2", "sft.max_steps=3")
    assert "calltune.changed_keys" not in runs(tmp_path)["toy"].data.tags


def test_a_killed_run_goes_on_in_its_parent(write_run_file: Callable[..., Path], tmp_path: Path) -> None:
    config = load_config(write_run_file(), [ON])
    config.run_folder.mkdir(parents=True)

    def stage(ending: type[BaseException] | None) -> dict:
        try:
            with track(config, "sft", {}) as tracker:
                tracker.dataset("", "a" * 64, "training", "rows")
                if ending:
                    raise ending
        except KeyboardInterrupt:
            pass
        return runs(tmp_path)

    killed, done = stage(KeyboardInterrupt)["toy"], stage(None)["toy"]
    assert (killed.info.status, done.info.status) == ("KILLED", "FINISHED")
    assert (done.info.run_id, done.data.params) == (killed.info.run_id, killed.data.params)
    assert len(done.inputs.dataset_inputs) == 1
    assert len(runs(tmp_path)) == 2


def test_parameters_hold_no_secret_and_every_key_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED_API_KEY", "planted-value")
    told = as_parameters(
        {
            "sft.hub_token": "x",
            "sft.push_to_hub_token": None,
            "dpo.pad_token": "<pad>",
            "a.url": "https://me:pw@host/x",
            "a.text": "it is planted-value",
            "a.odd (key)\n": 1,
            "a.long": "l" * 900,
        }
    )
    assert told == {
        "sft.hub_token": "***",
        "sft.push_to_hub_token": "None",
        "dpo.pad_token": "<pad>",
        "a.url": "https://***@host/x",
        "a.text": "it is ***",
        "a.odd _key__": "1",
        "a.long": "l" * 500,
    }


def test_data_sets_stand_with_the_stage_and_with_the_run(open_run: Callable[..., Config], tmp_path: Path) -> None:
    import mlflow.data

    rows = tmp_path / "train.jsonl"
    rows.write_text("{}")
    config = open_run()
    for _ in range(2):
        with track(config, "sft", {}) as tracker:
            tracker.dataset(str(rows), "a" * 64, "training")
            tracker.dataset("nvidia/When2Call", "b" * 64, "evaluation", "when2call")
            tracker.dataset("", "c" * 64, "evaluation", "mine")
    wanted = {
        ("train.jsonl", "a" * 36, "local", "training"),
        ("when2call", "b" * 36, "hugging_face", "evaluation"),
        ("mine", "c" * 36, "code", "evaluation"),
    }
    for name in ("toy", "toy-sft"):
        inputs = runs(tmp_path)[name].inputs.dataset_inputs
        assert len(inputs) == 3
        assert {(i.dataset.name, i.dataset.digest, i.dataset.source_type, i.tags[0].value) for i in inputs} == wanted
        local, hub = (mlflow.data.get_source(i) for i in sorted(inputs, key=lambda i: i.dataset.digest)[:2])
        assert (local.to_dict()["uri"], hub.to_dict()["path"]) == (str(rows), "nvidia/When2Call")


def test_the_commit_of_a_checkout_is_a_tag(
    open_run: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    open_run()
    assert "mlflow.source.git.commit" not in runs(tmp_path)["toy"].data.tags
    (tmp_path / "kept.txt").write_text("one")
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    for words in (("init", "-q"), ("add", "kept.txt"), ("commit", "-q", "-m", "one")):
        subprocess.run([*git, *words], check=True)
    open_run()
    tags = runs(tmp_path)["toy"].data.tags
    head = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert (tags["mlflow.source.git.commit"], tags["mlflow.source.git.dirty"]) == (head, "false")
    (tmp_path / "kept.txt").write_text("two")
    open_run()
    assert runs(tmp_path)["toy"].data.tags["mlflow.source.git.dirty"] == "true"


def test_an_experiment_opens_under_model_training(open_run: Callable[..., Config], tmp_path: Path) -> None:
    def kind() -> str:
        experiment = client(tmp_path).get_experiment_by_name("calltune")
        assert experiment is not None
        return experiment.tags["mlflow.experimentKind"]

    open_run()
    assert kind() == "custom_model_development"
    # What a user chose stays, and an experiment that was there without a kind gets one.
    client(tmp_path).set_experiment_tag("1", "mlflow.experimentKind", "genai_development")
    open_run()
    assert kind() == "genai_development"
    client(tmp_path).create_experiment("older")
    open_run("tracking.experiment=older")
    older = client(tmp_path).get_experiment_by_name("older")
    assert older is not None
    assert older.tags["mlflow.experimentKind"] == "custom_model_development"


def test_the_machine_is_measured_while_a_stage_runs(
    open_run: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.2")
    config = open_run()
    run_id = runs(tmp_path)["toy-sft"].info.run_id

    def steps() -> list[int]:
        history = client(tmp_path).get_metric_history(run_id, "system/cpu_utilization_percentage")
        return sorted(metric.step for metric in history)

    def measure(more_than: int) -> list[int]:
        deadline = time.monotonic() + 60
        with track(config, "sft", {}):
            while len(steps()) <= more_than and time.monotonic() < deadline:
                time.sleep(0.1)
        return steps()

    first = measure(0)
    second = measure(len(first))
    # A stage that goes on counts on.
    assert 0 < len(first) < len(second)
    assert second == list(range(len(second)))
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    with track(config, "dpo", {}):
        time.sleep(0.5)
    assert not [name for name in runs(tmp_path)["toy-dpo"].data.metrics if name.startswith("system/")]


def test_a_table_is_read_by_mlflow_and_stands_once(open_run: Callable[..., Config], tmp_path: Path) -> None:
    config = open_run()
    for answer in ("one", "two"):
        with track(config, "evaluate-base-mine", {}) as tracker:
            tracker.table("answers.json", {"question": ["Q", "Wer?"], "answer": [answer, "ein Ä"]})
    run_id = runs(tmp_path)["toy-evaluate-base-mine"].info.run_id
    table = client(tmp_path).load_table("1", "answers.json", run_ids=[run_id])
    assert table.to_dict(orient="list") == {"question": ["Q", "Wer?"], "answer": ["two", "ein Ä"]}


def test_metrics_of_odd_names_are_kept(open_run: Callable[..., Config], tmp_path: Path) -> None:
    with track(open_run(), "sft", {}) as tracker:
        tracker.metrics({"f1 (macro)": 0.5})
    assert runs(tmp_path)["toy-sft"].data.metrics["f1 _macro_"] == 0.5
