"""MLflow as itself: its sqlite store, read back with its own client."""

import base64
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import warm

from calltune.config.run_file import Config, load_config
from calltune.errors import ConfigError
from calltune.files.tracking import track, track_report


def client(folder: Path):
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")


def runs(folder: Path) -> list:
    experiment = client(folder).get_experiment_by_name("calltune")
    assert experiment is not None
    return client(folder).search_runs([experiment.experiment_id])


@pytest.fixture
def config(write_run_file: Callable[..., Path], tmp_path: Path) -> Config:
    config = load_config(write_run_file(), ["tracking.mlflow=true"])
    config.run_folder.mkdir(parents=True)
    return config


def test_a_run_has_a_child_for_each_stage(config: Config, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    result.write_text("{}")
    with track(config, "sft", {"model": "m"}) as tracker:
        tracker.parameters({"model": "m", "learning_rate": 1e-5, **{f"argument_{n}": n for n in range(150)}})
        tracker.metrics({"loss": 0.5, "note": "not a number", "flag": True}, step=3)
        tracker.file(result)
        tracker.file(tmp_path / "none.json")

    def fail(error: BaseException) -> None:
        with track(config, "dpo", {}):
            raise error

    with pytest.raises(RuntimeError, match="out of memory"):
        fail(RuntimeError("out of memory"))
    found = {run.info.run_name: run for run in runs(tmp_path / "runs")}
    assert set(found) == {"toy", "toy-sft", "toy-dpo"}
    parent, sft, dpo = found["toy"], found["toy-sft"], found["toy-dpo"]
    assert {run.data.tags["mlflow.parentRunId"] for run in (sft, dpo)} == {parent.info.run_id}
    assert "mlflow.parentRunId" not in parent.data.tags
    assert sft.data.metrics == {"loss": 0.5}
    assert len(sft.data.params) == 152
    assert (sft.data.params["model"], sft.data.params["learning_rate"]) == ("m", "1e-05")
    assert [file.path for file in client(tmp_path / "runs").list_artifacts(sft.info.run_id)] == ["result.json"]
    assert (sft.info.status, dpo.info.status, parent.info.status) == ("FINISHED", "FAILED", "FAILED")
    with pytest.raises(KeyboardInterrupt):
        fail(KeyboardInterrupt())
    assert {run.info.run_name: run.info.status for run in runs(tmp_path / "runs")}["toy-dpo"] == "KILLED"
    (config.run_folder / "report.json").write_text("{}")
    track_report(config, {"when2call.acc_norm": 0.5}, {"calltune.gate": "none"})
    assert [f.path for f in client(tmp_path / "runs").list_artifacts(parent.info.run_id)] == ["report.json"]


def test_a_resumed_stage_goes_on_in_its_run_and_a_changed_one_has_a_new_one(config: Config, tmp_path: Path) -> None:
    def stage(inputs: dict, steps: range) -> None:
        with track(config, "sft", inputs) as tracker:
            tracker.parameters({"model": f"as told at step {steps[0]}"})
            for step in steps:
                tracker.metrics({"loss": 1 / step}, step=step)

    stage({"rows": "a"}, range(1, 6))
    stage({"rows": "a"}, range(4, 9))
    store = client(tmp_path / "runs")
    sft = [run for run in runs(tmp_path / "runs") if run.info.run_name == "toy-sft"]
    assert len(sft) == 1
    history = store.get_metric_history(sft[0].info.run_id, "loss")
    assert {metric.step: metric.value for metric in history} == {step: 1 / step for step in range(1, 9)}
    assert sft[0].data.params == {"model": "as told at step 1"}
    stage({"rows": "b"}, range(1, 3))
    names = sorted(run.info.run_name for run in runs(tmp_path / "runs"))
    assert names == ["toy", "toy-sft", "toy-sft"]


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:9",
        "nosuch://store",
        "sqlite:////proc/nowhere/mlflow.db",
        "arn:aws:sagemaker:eu-central-1:111122223333:mlflow-tracking-server/none",
    ],
)
def test_a_wrong_address_is_told_before_training_in_one_line(
    write_run_file: Callable[..., Path], uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    config = load_config(write_run_file(), ["tracking.mlflow=true", f"tracking.uri={uri}"])
    config.run_folder.mkdir(parents=True)
    start = time.monotonic()
    with (
        pytest.raises(ConfigError, match=f"'tracking.uri': {uri} cannot be used: ") as caught,
        track(config, "sft", {}),
    ):
        pass
    assert "\n" not in str(caught.value)
    assert time.monotonic() - start < 60
    assert not (config.run_folder / "tracking.json").exists()


class _Echo(BaseHTTPRequestHandler):
    """Refuses, and repeats what it was sent."""

    def do_GET(self) -> None:
        _, _, sent = self.headers["Authorization"].partition(" ")
        body = f"no access with {base64.b64decode(sent).decode()}".encode()
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_the_password_of_a_store_is_the_environments_and_is_not_shown(
    write_run_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "planted-pw")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_port}"
        config = load_config(write_run_file(), ["tracking.mlflow=true", f"tracking.uri={uri}"])
        config.run_folder.mkdir(parents=True)
        with pytest.raises(ConfigError) as caught, track(config, "sft", {}):
            pass
        server.shutdown()
    assert "no access with me:***" in str(caught.value)
    assert "planted-pw" not in str(caught.value)


def test_a_store_that_goes_away_costs_one_line(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with track(config, "sft", {}) as tracker:
        tracker.metrics({"loss": 1.0}, step=1)
        (tmp_path / "runs" / "mlflow.db").unlink()
        (tmp_path / "runs" / "mlflow.db").mkdir()
        tracker.parameters({"model": "m"})
        tracker.parameters({"seed": 0})
        tracker.metrics({"loss": 0.5}, step=2)
    out = capsys.readouterr().out
    assert out.count("warning: the tracking store does not answer, training goes on without it: ") == 1


def test_runs_that_begin_together_share_a_store(write_run_file: Callable[..., Path], tmp_path: Path) -> None:
    file = write_run_file()
    code = (
        "import sys; from pathlib import Path\n"
        "from calltune.config.run_file import load_config; from calltune.files.tracking import track\n"
        "config = load_config(Path(sys.argv[1]), ['tracking.mlflow=true', f'name={sys.argv[2]}'])\n"
        "config.run_folder.mkdir(parents=True)\n"
        "with track(config, 'sft', {}) as tracker: tracker.metrics({'loss': 1.0})\n"
    )
    started = [warm.Process("-c", code, str(file), f"toy-{n}") for n in range(3)]
    printed = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], printed
    assert {run.info.run_name for run in runs(tmp_path / "runs")} == {
        f"toy-{n}{stage}" for n in range(3) for stage in ("", "-sft")
    }


def test_off_means_off(write_run_file: Callable[..., Path], tmp_path: Path) -> None:
    with track(load_config(write_run_file()), "sft", {}) as tracker:
        tracker.metrics({"loss": 1.0})
    assert not (tmp_path / "runs").exists()
