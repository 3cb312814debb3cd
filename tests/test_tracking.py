"""MLflow as itself: its sqlite store, read back with its own client."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from calltune.config import load_config
from calltune.tracking import track

# MLflow's own imports use what its dependencies deprecate; SQLAlchemy pools are closed when they are collected.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def runs(folder: Path) -> list:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("calltune")
    assert experiment is not None
    return client.search_runs([experiment.experiment_id])


def test_a_stage_is_a_run(write_run_file: Callable[..., Path], tmp_path: Path) -> None:
    config = load_config(write_run_file(), ["tracking.mlflow=true"])
    with track(config, "sft") as tracker:
        tracker.parameters({"model": "m", "learning_rate": 1e-5})
        tracker.metrics({"loss": 0.5, "note": "not a number", "flag": True}, step=3)

    def fail() -> None:
        with track(config, "dpo"):
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        fail()
    found = {run.info.run_name: run for run in runs(tmp_path / "runs")}
    assert set(found) == {"toy-sft", "toy-dpo"}
    assert found["toy-sft"].data.metrics == {"loss": 0.5}
    assert found["toy-sft"].data.params == {"model": "m", "learning_rate": "1e-05"}
    assert (found["toy-sft"].info.status, found["toy-dpo"].info.status) == ("FINISHED", "FAILED")


def test_runs_that_begin_together_share_a_store(write_run_file: Callable[..., Path], tmp_path: Path) -> None:
    file = write_run_file()
    code = (
        "import sys; from pathlib import Path\n"
        "from calltune.config import load_config; from calltune.tracking import track\n"
        "config = load_config(Path(sys.argv[1]), ['tracking.mlflow=true', f'name={sys.argv[2]}'])\n"
        "config.run_folder.mkdir(parents=True)\n"
        "with track(config, 'sft') as tracker: tracker.metrics({'loss': 1.0})\n"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, str(file), f"toy-{n}"]) for n in range(3)]
    assert [process.wait(120) for process in started] == [0, 0, 0]
    assert {run.info.run_name for run in runs(tmp_path / "runs")} == {f"toy-{n}-sft" for n in range(3)}


def test_off_means_off(write_run_file: Callable[..., Path], tmp_path: Path) -> None:
    with track(load_config(write_run_file()), "sft") as tracker:
        tracker.metrics({"loss": 1.0})
    assert not (tmp_path / "runs").exists()
