"""Two commands in one run's folder: the second is told of the first, which ends as if it had been alone."""

import json
import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import warm

from calltune.cli import main
from calltune.files.lock_file import LOCK, this_process
from calltune.files.owner import take
from calltune.launch.sagemaker import container
from calltune.verbs.parser import WRITES
from calltune.verbs.words import ACTIONS

SMALL = ["stages=['sft']", "evaluate.benchmarks=[]", "sft.num_train_epochs=4", "sft.save_steps=2"]


def begin(*words: str) -> warm.Process:
    return warm.Process("-m", "calltune", *words)


def wait_for(process: warm.Process, path: Path) -> None:
    deadline = time.monotonic() + 180
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_two_runs_at_once(write_run_file: Callable[..., Path], tmp_path: Path) -> None:
    words, folder = ["run", str(write_run_file()), *SMALL], tmp_path / "runs" / "toy"
    first = begin(*words)
    wait_for(first, folder / LOCK)
    at_once = begin(*words)
    wait_for(first, folder / "sft" / "checkpoints" / "checkpoint-2")
    later = begin("dpo", words[1], *SMALL)
    for second in (at_once, later):
        out, error = second.communicate()
        assert (second.returncode, out) == (2, "")
        assert re.fullmatch(
            rf"calltune: {folder}: is in use by 'calltune run {words[1]} .*' \(process {first.pid} of \S+ on \S*, "
            r"since \d{4}-\d\d-\d\d \S+\); wait for its end, or end it\n",
            error,
        ), error
    out, error = first.communicate()
    assert first.returncode == 0, error
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "data", "sft"]
    assert json.loads((folder / "sft" / "manifest.json").read_text())["resumed_from"] is None


def test_a_killed_run_is_taken_over_and_an_ended_one_leaves_no_lock(
    write_run_file: Callable[..., Path], tmp_path: Path
) -> None:
    words, folder = ["run", str(write_run_file()), *SMALL], tmp_path / "runs" / "toy"
    killed = begin(*words)
    wait_for(killed, folder / "sft" / "checkpoints" / "checkpoint-2" / "complete.json")
    killed.kill()
    killed.communicate()
    assert (folder / LOCK).exists()
    stopped = begin(*words)
    wait_for(stopped, folder / "sft" / "checkpoints" / "checkpoint-4" / "complete.json")
    os.kill(stopped.pid, signal.SIGTERM)
    out, error = stopped.communicate()
    assert stopped.returncode == 143, error
    assert out.startswith(f"{folder}: taken over from 'calltune run ")
    assert f"(process {killed.pid} of " in out.splitlines()[0]
    assert not (folder / LOCK).exists()
    assert main(words) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "data", "sft"]


@pytest.mark.parametrize("verb", [*WRITES, "check"])
def test_every_command_that_writes_asks_who_does(
    write_run_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    table = """
[launch.sagemaker]
role = "arn:aws:iam::123456789012:role/r"
bucket = "toy-bucket"
region = "us-east-1"
instance_type = "ml.g5.xlarge"
"""
    words = ["sagemaker", verb] if verb in ACTIONS else [verb]
    folder = tmp_path / "runs" / "toy"
    held = take(folder, "calltune sft a.toml")
    code = main([*words, str(write_run_file(table)), "plan.probe_seconds=0"])
    error = capsys.readouterr().err
    # Nothing else was written there.
    assert [path.name for path in folder.iterdir()] == [LOCK]
    held.release()
    if verb == "check":
        assert code == 0, error
    else:
        assert code == 2
        assert error.startswith(f"calltune: {folder}: is in use by 'calltune sft a.toml' (process {os.getpid()} of ")


def test_ranks_and_other_machines_work_for_the_owner(
    write_run_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Started by a launcher of the user's own, two ranks are one command, and another one is refused on both."""
    file, folder = write_run_file(), tmp_path / "runs" / "toy"
    assert main(["prepare", str(file)]) == 0
    words = ["-m", "calltune", "sft", str(file), "sft.per_device_train_batch_size=2"]
    held = take(folder, "calltune run a.toml")
    for done in warm.run_together(2, *words):
        assert done.returncode == 2, done.stderr
        assert "is in use by 'calltune run a.toml'" in done.stderr
    several = ["launch.machines=2", "launch.machine_rank=1", "launch.main_address=localhost"]
    capsys.readouterr()
    assert main(["report", str(file), *several]) == 2
    assert "nothing was evaluated yet" in capsys.readouterr().err
    held.release()
    for done in warm.run_together(2, *words):
        assert done.returncode == 0, done.stderr
    assert json.loads((folder / "sft" / "manifest.json").read_text())["inputs"]["processes"] == 2
    assert not (folder / LOCK).exists()


def test_a_job_on_another_machine_removes_the_lock_that_came_with_its_checkpoints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, folder = tmp_path / "ml", tmp_path / "ml" / "checkpoints" / "toy"
    for name, value in (
        ("code/config.json", {"name": "toy", "model": "some/model"}),
        ("input/config/resourceconfig.json", {"hosts": ["algo-1"], "current_host": "algo-1"}),
        (f"checkpoints/toy/{LOCK}", asdict(replace(this_process("calltune sft", True), kernel="another"))),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(json.dumps(value))
    job = container.Stage("sft", str(root))
    job.lay_out()
    said = "calltune: the lock of the machine before this one came with the checkpoints; removed\n"
    assert capsys.readouterr().out == said
    assert [path.name for path in folder.iterdir()] == ["config.json"]
    take(folder, "calltune sft").release()
    job.lay_out()
    assert capsys.readouterr().out == ""
