"""Steps of trainers, timed; and calltune's trainers, as its stages make them from a run file.

All of them draw the same rows in the same order, begin with the same weights, and have a learning rate of nothing: the
optimiser does all its work and the losses of two ways stay comparable. Time is taken from one step's end to the next
one's, so that collating counts as it does in training.
"""

import contextlib
import gc
import json
import statistics
import time
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import datasets
import torch
from torch.utils.data import SequentialSampler
from transformers.trainer_callback import PrinterCallback, TrainerCallback

from calltune.config.run_file import load_config
from calltune.config.training import TuningConfig
from calltune.training.collating import close_workers
from calltune.training.ready import get_ready
from calltune.training.settings import stage_settings
from calltune.training.trainer import make_trainer, share
from calltune.verbs import dpo, prepare, sft
from material.gpu_model import Machine, as_it_was, cudnn_attention
from material.gpu_record import roofline
from material.gpu_rows import token_rows

RECIPES = {"sft": sft.RECIPE, "dpo": dpo.RECIPE}
WARM_UP = 2
STEPS = 6
_LONGEST = 8_192
_LAID = 2  # modules whose `forward` is calltune's or TRL's: the model and its backbone
SAME = {"learning_rate": 0.0, "max_steps": STEPS, "save_strategy": "no", "logging_steps": 1, "seed": 0}


@dataclass
class Clock(TrainerCallback):
    """Notes when steps end, and the losses; the step `profiled` goes on under a profiler."""

    machine: Machine
    profiler: Any = None
    ends: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """The first step's beginning."""
        self._note()

    def on_step_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Let the profiler see the last step alone."""
        if self.profiler is not None and state.global_step == state.max_steps - 1:
            self.profiler.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """A step is over when the device has done it."""
        self._note()
        if self.profiler is not None and state.global_step == state.max_steps:
            self.profiler.stop()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **others: Any) -> None:
        """The loss of a step."""
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))

    def _note(self) -> None:
        self.machine.wait()
        self.ends.append(time.perf_counter())

    @property
    def seconds(self) -> list[float]:
        """Of each step, with what comes before it."""
        return [stop - start for start, stop in zip(self.ends, self.ends[1:], strict=False)]


def rows_of(machine: Machine, kind: str, number: int) -> list[dict[str, Any]]:
    """Rows by what they are: `dpo`, `sft` or `agent`."""
    return {"dpo": machine.ids.pairs, "sft": machine.ids.examples, "agent": machine.ids.turns}[kind](number)


def stage_of(kind: str) -> str:
    """The stage that trains on rows of a kind."""
    return "dpo" if kind == "dpo" else "sft"


def run_file(machine: Machine, name: str, num_rows: int, num_questions: int) -> Path:
    """A run file over the model's folder and so many made-up examples, pairs and questions."""
    file = machine.work / f"{name}.toml"
    file.write_text(
        f"""
name = "{name}"
model = {json.dumps(str(machine.folder))}
output = {json.dumps(str(machine.work / "runs"))}
[data]
validation_fraction = 0.0
[[data.sources]]
name = "material.gpu_rows"
num_examples = {num_rows}
num_pairs = {num_rows}
num_questions = {num_questions}
num_tools = {8 if machine.is_dry else 32}
[tracking]
mlflow = false
[[evaluate.benchmarks]]
name = "when2call"
path = "{{run}}/data/test.jsonl"
[[evaluate.benchmarks]]
name = "when2call_generation"
path = "{{run}}/data/test.jsonl"
max_new_tokens = {4 if machine.is_dry else 48}
""",
        encoding="utf-8",
    )
    return file


def has_key(name: str) -> bool:
    """Whether `[tuning]` has a key in this checkout."""
    return name in TuningConfig.model_fields


def ours(
    machine: Machine,
    kind: str,
    size: int,
    way: Any,
    tuning: tuple[str, ...] = (),
    cudnn: bool = False,
    profiler: Any = None,
) -> dict[str, Any]:
    """Train the shared model by calltune's own stage, attending in one way.

    Args:
        tuning: more of `[tuning]`, as overrides on the command line.
        cudnn: whether SDPA may take cuDNN's kernels.
    """
    machine.need(way)
    with as_it_was(machine.model) as model:
        found = _ours(machine, kind, size, tuning, way, model, cudnn, profiler)
    if found["way"] != way:
        raise RuntimeError(f"{way} was not taken, but {found['way']}")
    return found


def loaded(machine: Machine, kind: str, size: int, tuning: tuple[str, ...] = ()) -> dict[str, Any]:
    """The same with all left to calltune: it loads the model in its precision, and chooses kernels and attention.

    Activations are computed twice only where they do not fit.
    """
    _ = machine.written
    # There must be room for another one.
    machine.forget_model()
    with contextlib.suppress(torch.OutOfMemoryError):
        return _ours(machine, kind, size, tuning)
    give_back()
    found = _ours(machine, kind, size, tuning, checkpointing=True)
    return {**found, "note": "with checkpointing, without which it does not fit"}


def _ours(
    machine: Machine,
    kind: str,
    size: int,
    tuning: tuple[str, ...],
    way: Any = "auto",
    model: Any = None,
    cudnn: bool = False,
    profiler: Any = None,
    checkpointing: bool = False,
) -> dict[str, Any]:
    stage, rows = stage_of(kind), rows_of(machine, kind, size * STEPS)
    given = {**SAME, "per_device_train_batch_size": size, "max_length": _LONGEST}
    given |= {"gradient_checkpointing": checkpointing}
    overrides = [f"{stage}.{key}={json.dumps(value)}" for key, value in given.items() if key != "seed"]
    config = load_config(_prepared(machine), [*overrides, *tuning, "seed=0"])
    # The run file refuses a GPU's ways where there is none.
    settings = replace(stage_settings(config, stage), attention=way)
    ready = get_ready(settings, RECIPES[stage], config.run_folder, str(machine.folder))
    trainer = make_trainer(ready, model)
    give_rows(trainer, rows, knows_reference=True)
    sharing = share(ready.settings, trainer)
    found = timed(machine, trainer, rows, size, cudnn, profiler)
    if sharing.off_because:
        raise RuntimeError(f"no prefixes were shared: {sharing.off_because}")
    replaced = sum("forward" in vars(module) for module in trainer.model.modules()) - _LAID
    return {
        **found,
        "way": sharing.way,
        "tokens_computed": sharing.num_computed_tokens // STEPS,
        "passes": sharing.passes.facts() if sharing.passes else None,
        "modules_replaced": replaced,
        "batches": f"{kind} {size}",
    }


def know_reference(trainer: Any) -> None:
    """Tell a DPO trainer what its reference would say, so that no second model is asked."""
    if hasattr(trainer, "precompute_ref_logps"):
        for column in ("ref_chosen_logps", "ref_rejected_logps"):
            trainer.train_dataset = trainer.train_dataset.add_column(column, [0.0] * len(trainer.train_dataset))
        trainer.precompute_ref_logps, trainer.ref_model = True, None


def give_rows(trainer: Any, rows: list[dict[str, Any]], knows_reference: bool) -> None:
    """Let a trainer draw these rows, in their order."""
    trainer.train_dataset = datasets.Dataset.from_list(rows)
    if knows_reference:
        know_reference(trainer)
    in_order = SequentialSampler(trainer.train_dataset)
    trainer._get_train_sampler = lambda dataset=None: in_order


def give_back() -> None:
    """Free what nobody holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def timed(
    machine: Machine, trainer: Any, rows: list[dict[str, Any]], size: int, cudnn: bool, profiler: Any = None
) -> dict[str, Any]:
    """Facts of some steps: the median of those after the first two, and the work that was useful in them."""
    clock = Clock(machine, profiler)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(clock)
    if machine.is_cuda:
        torch.cuda.reset_peak_memory_stats(machine.device)
    try:
        with cudnn_attention(cudnn) if machine.is_cuda else nullcontext():
            trainer.train()
    finally:
        # Else each worker is waited for, for seconds, when the trainer is collected.
        close_workers()
        trainer.optimizer = trainer.lr_scheduler = None
        peak = torch.cuda.max_memory_allocated(machine.device) if machine.is_cuda else None
        give_back()
    work = [machine.flops(token_rows(rows[start : start + size])) for start in range(0, len(rows), size)]
    distinct = [sum(map(len, token_rows(rows[start : start + size]))) for start in range(0, len(rows), size)]
    seconds = statistics.median(clock.seconds[WARM_UP:])
    return {
        "seconds": round(seconds, 4),
        "seconds_of_steps": [round(each, 4) for each in clock.seconds],
        "rows": size,
        "rows_per_second": round(size / seconds, 3),
        "tokens_in_rows": round(statistics.mean(distinct[WARM_UP:])),
        **roofline(statistics.mean(work[WARM_UP:]), machine.peak, seconds, machine.is_peak_known),
        "peak_gib": None if peak is None else round(peak / 2**30, 1),
        "losses": clock.losses,
    }


def _prepared(machine: Machine) -> Path:
    """The run file of steps: its stages read a few rows of text, whose place others then take."""
    file = machine.work / "steps.toml"
    if not file.exists():
        run_file(machine, "steps", 12, 4)
        prepare.run(load_config(file, ["data.workers=1"]))
    return file
