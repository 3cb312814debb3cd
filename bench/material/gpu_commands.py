"""The real commands in processes of their own, and TRL's trainers over the same rows of text."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers.trainer_callback import PrinterCallback

from calltune.config.run_file import load_config
from calltune.training.ready import get_ready
from calltune.training.settings import stage_settings
from material.gpu_model import ROOT, Machine
from material.gpu_peers import make_peer
from material.gpu_record import Skip, TimeIsUp
from material.gpu_trainers import RECIPES, give_back, know_reference, run_file

STEPS = 20
_ROWS = 32


class Commands:
    """`calltune` over one run file of made-up rows, 20 steps a stage; its run's folder is `run`."""

    def __init__(self, machine: Machine) -> None:
        few = machine.is_dry
        self._machine, self.size, self.steps = machine, 4 if few else _ROWS, 3 if few else STEPS
        self._num_rows, self._num_questions = (16, 4) if few else (_ROWS * STEPS, 151)

    @property
    def _file(self) -> Path:
        file = self._machine.work / "commands.toml"
        if not file.exists():
            run_file(self._machine, "commands", self._num_rows, self._num_questions)
        return file

    @property
    def run(self) -> Path:
        """Where the commands write."""
        return self._machine.work / "runs" / "commands"

    def call(self, verb: str, seconds: float) -> float:
        """Seconds on the clock of one command, its start included."""
        if verb != "prepare" and not (self.run / "data" / "manifest.json").exists():
            self.call("prepare", seconds)
        _ = self._machine.written
        given = {"per_device_train_batch_size": self.size, "max_steps": self.steps, "save_strategy": "no"}
        words = [f"{stage}.{key}={json.dumps(value)}" for stage in ("sft", "dpo") for key, value in given.items()]
        return called(self._machine, [verb, str(self._file), *words, "data.workers=1"], seconds)

    def _need(self, stage: str) -> None:
        if not (self.run / stage / "manifest.json").exists():
            raise Skip(f"there is nothing of 'calltune {stage}' here")

    def trained(self, stage: str, seconds: float) -> dict[str, Any]:
        """One stage's facts: what its manifest says, and the whole command's seconds."""
        if stage == "dpo":
            self._need("sft")
        whole = self.call(stage, seconds)
        told = json.loads((self.run / stage / "manifest.json").read_text(encoding="utf-8"))
        sharing = told["shared_prefixes"]
        return {
            "seconds": round(told["train_seconds"] / told["steps"], 4),
            "command_seconds": round(whole, 2),
            "rows": self.size,
            "rows_per_second": round(self.size * told["steps"] / max(told["train_seconds"], 1e-3), 3),
            "useful_mfu": sharing["useful_mfu"],
            "token_ratio": sharing["token_ratio"],
            "way": sharing["attention"],
            "sharing_is_off_because": sharing["off_because"],
            "note": f"{told['steps']} steps, the first ones included; the command took {whole:.1f} s",
        }

    def evaluated(self, seconds: float) -> dict[str, Any]:
        """Seconds of each checkpoint's benchmarks."""
        self._need("dpo")
        whole = self.call("evaluate", seconds)
        files = sorted((self.run / "eval").glob("*/*/manifest.json"))
        each = {"/".join(file.parts[-3:-1]): json.loads(file.read_text(encoding="utf-8"))["seconds"] for file in files}
        return {
            "seconds": round(whole, 2),
            "seconds_of_each": each,
            "questions": self._num_questions,
            "note": ", ".join(f"{name} {spent:.1f} s" for name, spent in each.items()),
        }

    def by_peer(self, stage: str, seconds: float) -> dict[str, Any]:
        """TRL at its best over the same rows of text, so many steps of the largest batch of at most eight that fits."""
        if not (self.run / "data" / "manifest.json").exists():
            self.call("prepare", seconds)
        machine, config = self._machine, load_config(self._file)
        settings = stage_settings(config, "sft" if stage == "sft" else "dpo")
        texts = get_ready(settings, RECIPES[stage], config.run_folder, str(machine.folder)).rows.texts
        for size in (4,) if machine.is_dry else (8, 4, 2):
            with contextlib.suppress(torch.OutOfMemoryError):
                return self._peer(stage, texts, size)
            give_back()
        raise Skip("not even two rows fit into the device's memory")

    def _peer(self, stage: str, texts: list[dict[str, str]], size: int) -> dict[str, Any]:
        options = {"per_device_train_batch_size": size, "max_steps": self.steps, "save_strategy": "no"}
        trainer, told = make_peer(self._machine, stage, True, texts=texts, **options)
        know_reference(trainer)
        trainer.remove_callback(PrinterCallback)
        spent = max(trainer.train().metrics["train_runtime"], 1e-3)
        del trainer
        give_back()
        return {
            "seconds": round(spent / self.steps, 4),
            "rows": size,
            "rows_per_second": round(size * self.steps / spent, 3),
            "note": f"{self.steps} steps, the first ones included; {told}",
        }


def called(machine: Machine, words: list[str], seconds: float) -> float:
    """Run `calltune` with the rest of the clock's time.

    Raises:
        TimeIsUp: it took longer.
        RuntimeError: it failed; with its last lines.
    """
    paths = [str(ROOT / "src"), str(ROOT / "bench"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "HF_HUB_OFFLINE": "1"}
    if machine.is_dry:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    command = [sys.executable, "-m", "calltune", *words]
    # The command needs the memory that this process keeps for tensors to come.
    give_back()
    begun = time.monotonic()
    try:
        done = subprocess.run(
            command, env=environment, cwd=machine.work, capture_output=True, text=True, timeout=max(1.0, seconds)
        )
    except subprocess.TimeoutExpired:
        raise TimeIsUp from None
    (machine.work.parent / f"{words[0]}.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode:
        raise RuntimeError(f"calltune {words[0]}: {(done.stderr.strip() or done.stdout.strip())[-300:]}")
    return time.monotonic() - begun


def ladder(machine: Machine, model: Path | None, data: Path | None, seconds: float) -> dict[str, Any]:
    """`calltune run` over rows in When2Call's layout: base, SFT and DPO of a model at hand, whole, and its scores."""
    if model is None or data is None:
        raise Skip("no model and rows were named (--smollm2, --when2call)")
    names = ("train_sft", "train_pref", "nvidia_test_dev")
    if missing := [name for name in names if not (data / f"{name}.jsonl").is_file()]:
        raise Skip(f"{data} has no {missing[0]}.jsonl")
    file = machine.work / "ladder.toml"
    sources = "".join(
        f'[[data.sources]]\nname = "when2call"\npath = {json.dumps(str((data / f"{split}.jsonl").resolve()))}\n'
        f'split = "{split}"\n'
        for split in names[:2]
    )
    stages = "".join(
        f"[{stage}]\nnum_train_epochs = 1\nper_device_train_batch_size = {_ROWS}\n" for stage in ("sft", "dpo")
    )
    questions = json.dumps(str((data / "nvidia_test_dev.jsonl").resolve()))
    file.write_text(
        f'name = "ladder"\nmodel = {json.dumps(str(model.resolve()))}\noutput = "runs"\n{sources}{stages}'
        f'[tracking]\nmlflow = false\n[[evaluate.benchmarks]]\nname = "when2call"\npath = {questions}\n',
        encoding="utf-8",
    )
    whole = called(machine, ["run", str(file), "data.workers=4"], seconds)
    report = json.loads((machine.work / "runs" / "ladder" / "report.json").read_text(encoding="utf-8"))
    scores = {each["checkpoint"]: each["metrics"].get("acc_norm") for each in report["results"]}
    told = ", ".join(f"{name} {score}" for name, score in scores.items())
    return {"seconds": round(whole, 1), "acc_norm": scores, "note": f"Acc-Norm: {told}"}
