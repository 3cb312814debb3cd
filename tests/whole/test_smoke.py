"""The whole way, killed in every stage and run again, on toy data and a random model."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import warm

from calltune.cli import main

STEPS = ["sft.max_steps=6", "sft.save_steps=2", "dpo.max_steps=6", "dpo.save_steps=2"]


def kill_when(process: subprocess.Popen[str] | warm.Process, happened: Callable[[], bool]) -> None:
    """Kill as the kernel kills, once something is on the disk."""
    deadline = time.monotonic() + 240
    while not happened():
        assert process.poll() is None, f"it ended by itself:\n{process.communicate()}"
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
    process.kill()
    process.communicate()


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def test_killed_in_every_stage_and_run_again(write_run_file: Callable[..., Path], tmp_path: Path) -> None:
    """The first time as a user starts it, then forked: what is on the disk is all that comes back."""
    file, folder = write_run_file(), tmp_path / "runs" / "toy"
    words = ["-m", "calltune", "run", str(file), *STEPS]
    fresh = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    # Slow enough at the end of a stage that the kill falls inside it.
    kill_when(fresh, lambda: any((folder / "sft" / "checkpoints").glob("checkpoint-2/complete.json")))
    assert not (folder / "sft" / "manifest.json").exists()
    kill_when(warm.Process(*words), lambda: any((folder / "dpo" / "checkpoints").glob("checkpoint-2/complete.json")))
    sft = read(folder / "sft" / "manifest.json")
    assert sft["steps"] == 6
    assert sft["resumed_from"].startswith("checkpoint-")
    assert not (folder / "dpo" / "manifest.json").exists()
    kill_when(warm.Process(*words), lambda: (folder / "eval" / "sft" / "when2call" / "completions.jsonl").exists())
    assert read(folder / "dpo" / "manifest.json")["resumed_from"].startswith("checkpoint-")
    done = warm.run(*words)
    text = done.stdout
    assert done.returncode == 0, text + done.stderr
    for stage in ("prepare", "sft", "dpo", "evaluate: base on when2call"):
        assert f"{stage}: complete and unchanged, skipped" in text or f"{stage} complete and unchanged" in text
    report = read(folder / "report.json")
    assert len(report["results"]) == 6
    assert set(report["stages"]) == {"data", "sft", "dpo"}
    assert not (folder / "sft" / "checkpoints").exists()
    for result in report["results"]:
        bins = ("num_correct", "num_wrong", "num_malformed", "num_truncated", "num_errors")
        assert result["num_samples"] == sum(result[name] for name in bins) == 8
        place = folder / "eval" / result["checkpoint"] / result["benchmark"]
        assert (place / "manifest.json").exists()
        for name in ("completions.jsonl", "scores.jsonl"):
            assert len((place / name).read_text().splitlines()) == 8


def test_lora_is_merged_and_a_changed_stage_runs_anew(
    write_run_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, folder = write_run_file(), tmp_path / "runs" / "toy"
    lora = ["tuning.method=lora", "lora.r=2", "sft.max_steps=2", "dpo.max_steps=2"]
    for verb in ("prepare", "sft", "dpo"):
        assert main([verb, str(file), *lora]) == 0
    assert (folder / "sft" / "adapter" / "adapter_model.safetensors").exists()
    assert (folder / "dpo" / "model.safetensors").exists()
    assert 0 < read(folder / "dpo" / "manifest.json")["trainable_share"] < 0.5
    capsys.readouterr()
    assert main(["dpo", str(file), *lora, "dpo.learning_rate=1e-3"]) == 0
    assert "dpo: settings changed since it was made; the old one is kept as dpo.old-1" in capsys.readouterr().out
    assert (folder / "dpo.old-1" / "manifest.json").exists()
