"""Two processes on one CPU, as a user starts them: what they learn, and how they end."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import warm

from calltune.cli import main

TWO = ["launch.processes=2", "sft.per_device_train_batch_size=2", "dpo.per_device_train_batch_size=2"]


@pytest.fixture
def one_process(write_run_file: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Train a stage in this process, prepare a run named `two` for two, and return the run file."""

    def train(stage: str, *overrides: str) -> Path:
        file = write_run_file()
        for name in ("toy", "two"):
            assert main(["prepare", str(file), f"name={name}", *overrides]) == 0
        assert main([stage, str(file), *overrides]) == 0
        return file

    return train


def start(verb: str, file: Path, *overrides: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "calltune", verb, str(file), "name=two", *TWO, *overrides],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(process: subprocess.Popen[str], path: Path) -> None:
    deadline = time.monotonic() + 180
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ranks(process: subprocess.Popen[str]) -> list[psutil.Process]:
    inside = psutil.Process(process.pid).children(recursive=True)
    return sorted((p for p in inside if "RANK" in p.environ()), key=lambda p: int(p.environ()["RANK"]))


def losses(folder: Path) -> list[float]:
    return [entry["loss"] for entry in json.loads((folder / "history.json").read_text())["log"] if "loss" in entry]


# MLflow's client reads its store here: what SQLAlchemy deprecates, and pools that are closed when they are collected.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_two_processes_killed_stopped_and_resumed_learn_what_one_learns(
    one_process: Callable[..., Path], tmp_path: Path
) -> None:
    overrides = ["sft.num_train_epochs=8", "sft.save_steps=2", "sft.learning_rate=1e-3"]
    file, folder = one_process("sft", *overrides), tmp_path / "runs" / "two"
    overrides.append("tracking.mlflow=true")

    orphaned = start("sft", file, *overrides)
    wait_for(orphaned, folder / "sft" / "checkpoints" / "checkpoint-2" / "complete.json")
    inside = psutil.Process(orphaned.pid).children(recursive=True)
    orphaned.kill()
    assert psutil.wait_procs(inside, timeout=45)[1] == []

    killed = start("sft", file, *overrides)
    wait_for(killed, folder / "sft" / "checkpoints" / "checkpoint-12" / "complete.json")
    ranks(killed)[1].kill()
    out, error = killed.communicate(timeout=60)
    assert killed.returncode == 2, error
    assert error.splitlines()[-1].startswith("calltune: sft: one of the processes was ended by SIGKILL; run it again")
    assert "Traceback" not in error

    stopped = start("sft", file, *overrides)
    wait_for(stopped, folder / "sft" / "checkpoints" / "checkpoint-22" / "complete.json")
    stopped.send_signal(signal.SIGTERM)
    out, error = stopped.communicate(timeout=120)
    assert stopped.returncode == 128 + signal.SIGTERM, error
    assert "sft: resuming from checkpoint-" in out
    assert error.splitlines()[-1].startswith("calltune: interrupted; 'calltune sft ")
    assert "Traceback" not in error

    done = start("sft", file, *overrides)
    out, error = done.communicate(timeout=120)
    assert done.returncode == 0, error
    assert out.count("sft: resuming from checkpoint-") == 1
    alone, together = losses(tmp_path / "runs" / "toy" / "sft"), losses(folder / "sft")
    assert len(alone) == 48
    assert together == pytest.approx(alone, rel=1e-4)

    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    found = {run.info.run_name: run for run in client.search_runs(["1"])}
    assert set(found) == {"two", "two-sft"}
    history = client.get_metric_history(found["two-sft"].info.run_id, "loss")
    assert {metric.step: metric.value for metric in history} == dict(enumerate(together, start=1))


def test_two_processes_draw_and_learn_what_one_does(one_process: Callable[..., Path], tmp_path: Path) -> None:
    warm_model = Path(__file__).parents[2] / "examples" / "tiny-qwen3"
    overrides = ["stages=['grpo']", f"model={warm_model}", "grpo.max_steps=4", "grpo.learning_rate=1e-3", "seed=1"]
    overrides += ["grpo.num_generations=4", "grpo.max_completion_length=40", "grpo.beta=0.1"]
    file = one_process("grpo", *overrides, "grpo.per_device_train_batch_size=12")
    # Three groups of four: the second one is drawn by both.
    two = start("grpo", file, *overrides, "grpo.per_device_train_batch_size=6")
    out, error = two.communicate(timeout=180)
    assert two.returncode == 0, error
    alone, together = (tmp_path / "runs" / name / "grpo" / "history.json" for name in ("toy", "two"))
    first, second = (
        [entry for entry in json.loads(file.read_text())["log"] if "loss" in entry] for file in (alone, together)
    )
    assert [entry["reward"] for entry in second] == pytest.approx([entry["reward"] for entry in first], abs=1e-6)
    assert [entry["loss"] for entry in second] == pytest.approx([entry["loss"] for entry in first], rel=1e-3, abs=1e-5)
    assert any(abs(entry["loss"]) > 1e-3 for entry in first)
    assert out.count("grpo: train.jsonl: 40 of 40 questions are asked") == 1


def test_preferences_on_a_model_spread_over_two_processes(one_process: Callable[..., Path], tmp_path: Path) -> None:
    overrides = ["stages=['dpo']", "dpo.max_steps=4", "dpo.learning_rate=1e-3"]
    file = one_process("dpo", *overrides)
    two = start("dpo", file, *overrides, "launch.strategy=fsdp2")
    out, error = two.communicate(timeout=180)
    assert two.returncode == 0, error
    alone, together = (losses(tmp_path / "runs" / name / "dpo") for name in ("toy", "two"))
    assert together == pytest.approx(alone, rel=1e-4)
    assert out.count("parameters are trained, 100.00%") == 1


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_passes_of_bounded_tokens_are_as_many_on_every_process(
    stage: str, one_process: Callable[..., Path], tmp_path: Path
) -> None:
    # Plain steps, and losses that go on from what the steps before taught.
    overrides = [f"stages=['{stage}']", f"{stage}.max_steps=4", f"{stage}.optim=sgd", f"{stage}.learning_rate=0.1"]
    file = one_process(stage, *overrides)
    words = [stage, str(file), "name=two", *TWO, *overrides, "launch.tokens_per_batch=256"]
    two = warm.run_together(2, "-m", "calltune", *words)
    assert [process.returncode for process in two] == [0, 0], two
    alone, together = (losses(tmp_path / "runs" / name / stage) for name in ("toy", "two"))
    assert together == pytest.approx(alone, rel=1e-5)
    assert " passes a step, each of at most 256 tokens" in two[0].stdout


def test_the_mistake_of_a_process_is_one_line(write_run_file: Callable[..., Path], tmp_path: Path) -> None:
    file = write_run_file()
    assert main(["prepare", str(file), "name=two"]) == 0
    two = start("dpo", file)
    _, error = two.communicate(timeout=180)
    assert two.returncode == 2
    assert error.splitlines()[-1] == (
        f"calltune: {tmp_path}/runs/two/sft/manifest.json: is missing; run the stage before this one first"
    )
    assert "Traceback" not in error
