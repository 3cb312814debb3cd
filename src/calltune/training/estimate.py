"""What a run is going to take, stage by stage: rows, tokens, optimiser steps, memory, time and price.

Steps and tokens are those of the stage's own code (`fit_rows`, TRL's arguments and batches). Time is probed on this
device (`calltune.training.probe`), or reckoned from floating-point operations when `[plan]` gives a device and its MFU.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from calltune.config.run_file import Config
from calltune.files.tracking import track
from calltune.models.device import free_bytes, give_memory_back
from calltune.runtime.terminal import say, show_table
from calltune.training.flops import peak_by_name
from calltune.training.memory import Shape, gigabytes, layer_bytes
from calltune.training.probe import count_steps, reckon_training, time_training, weightless_trainer
from calltune.training.probe_drawn import reckon_drawing, time_drawing
from calltune.training.ready import get_ready
from calltune.training.recipe import Recipe
from calltune.training.settings import StageSettings
from calltune.training.steady import Budget, is_steady


@dataclass(frozen=True, slots=True)
class Estimate:
    """A stage before it runs. `seconds` leave out the start of the command; None where nothing says how long.

    For training `rows` is the number that fits, `left_out` of those that do not; `tokens` are of one epoch, as the
    stage's manifest has them. For evaluation `rows` are questions, each asked of every checkpoint.
    """

    stage: str
    rows: int
    left_out: int
    tokens: int | None
    steps: int | None
    memory_bytes: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Questions:
    """A benchmark's questions in the batches in which they are asked, and how to ask one batch of a backend."""

    title: str
    batches: Sequence[Sequence[Any]]
    size: Callable[[Any], int]
    ask: Callable[[Any, Sequence[Any]], object]


def plan_training(config: Config, settings: StageSettings, recipe: Recipe, budget: Budget | None = None) -> Estimate:
    """A stage's plan from the rows in `data/` of a run's folder that is thrown away.

    The base model stands for the one that SFT is going to make: it has the same shape.

    Args:
        budget: of all probes; by default this is the only one.

    Raises:
        CalltuneError: as the stage itself does before its first step.
    """
    ready = get_ready(settings, recipe, config.run_folder, config.model)
    num_processes, seconds = config.launch.processes * config.launch.machines, None
    if config.plan.mfu is not None:
        flops_per_second = peak_by_name(config.plan.device or "") * config.plan.mfu
        reckon = reckon_drawing if recipe.rewards else reckon_training
        steps, _, seconds = reckon(ready, num_processes, flops_per_second)
    elif config.plan.probe_seconds and ready.memory.fits(free_bytes()):
        tracking, begun = track(config, settings.stage, {}), time.perf_counter()
        budget = budget or Budget(config.plan.probe_seconds, 1)
        take_time = time_drawing if recipe.rewards else time_training
        steps, _, seconds = take_time(ready, num_processes, budget.share(), tracking)
        budget.spend(time.perf_counter() - begun)
        give_memory_back()
    else:
        steps, _ = count_steps(weightless_trainer(ready), num_processes)
    rows = ready.rows
    left_out = len(rows.too_long)
    return Estimate(settings.stage, len(rows.texts), left_out, rows.num_tokens, steps, ready.memory.total, seconds)


def plan_evaluation(
    config: Config,
    shape: Shape,
    asked: Sequence[Questions],
    open_backend: Callable[[], Any] | None,
    budget: Budget,
) -> Estimate:
    """The evaluation's plan: some batches of each benchmark, asked of the base model, stand for all checkpoints.

    Args:
        open_backend: loads the model to time; None where that is not for `check` to do, such as on a paid server.
    """
    num_checkpoints = sum(name in config.checkpoints for name in config.evaluate.checkpoints or config.checkpoints)
    seconds = None
    if open_backend is not None and config.plan.probe_seconds and config.plan.mfu is None:
        say("evaluate: some real questions, for the time they take ...")
        begun = time.perf_counter()
        backend = open_backend()
        once = time.perf_counter() - begun
        each = sum(_time_questions(config, questions, backend, budget) for questions in asked)
        seconds = num_checkpoints * (once + each / (config.launch.processes * config.launch.machines))
        del backend
        give_memory_back()
    rows = sum(len(batch) for questions in asked for batch in questions.batches)
    return Estimate("evaluate", rows, 0, None, None, _evaluation_bytes(config, shape), seconds)


def _time_questions(config: Config, questions: Questions, backend: Any, budget: Budget) -> float:
    """The seconds of all questions, by some batches, or parts of them where a whole one takes too long."""
    begun = all_begun = time.perf_counter()
    with track(config, f"evaluate-{questions.title}", {}) as tracker:
        tracker.metrics({"questions": len(questions.batches)})
    once = time.perf_counter() - begun
    sizes = [sum(map(questions.size, batch)) for batch in questions.batches]
    order, limit = _spread(len(sizes)), budget.share()
    begun = time.perf_counter()
    # One question says how many there is time for; it would take its share of a batch at most.
    questions.ask(backend, questions.batches[order[0]][:1])
    most = max(1, int(limit / 2 / (time.perf_counter() - begun)))
    spent, seen, rates = 0.0, 0, list[float]()
    for number in order:
        batch = questions.batches[number][:most]
        begun, size = time.perf_counter(), sum(map(questions.size, batch))
        questions.ask(backend, batch)
        seconds = time.perf_counter() - begun
        spent, seen, rates = spent + seconds, seen + size, [*rates, seconds / max(1, size)]
        if spent + seconds > limit or is_steady(spent, rates):
            break
    budget.spend(time.perf_counter() - all_begun)
    return once + spent * sum(sizes) / max(1, seen)


def _spread(count: int) -> list[int]:
    """Every number below `count`, each as far from those before it as a golden step takes it."""
    places = sorted(range(count), key=lambda number: (number * 0.618034) % 1)
    middle = len(places) // 2
    return places[middle:] + places[:middle]


def _evaluation_bytes(config: Config, shape: Shape) -> int:
    """Weights, one layer's activations, and keys and values of all layers, for one full batch."""
    import torch

    on_gpu = torch.cuda.is_available()
    width = 2 if on_gpu else 4
    per_token = layer_bytes(shape, on_gpu) + 2 * width * shape.keys * shape.layers
    return width * shape.num_parameters + config.evaluate.tokens_per_batch * per_token


def show_plan(config: Config, plans: Sequence[Estimate], starts: Mapping[str, float]) -> float | None:
    """Tell the plan, and what its figures are not; return the seconds in all, None where nothing says how many."""
    price = config.plan.price_per_hour
    costs = [_cost(config, plan.seconds) for plan in plans]
    columns = ["", "rows", "left out", "tokens of an epoch", "steps", "peak memory", "time"]
    rows = [
        [
            plan.stage,
            f"{plan.rows:,}",
            f"{plan.left_out:,}",
            "-" if plan.tokens is None else f"{plan.tokens:,}",
            "-" if plan.steps is None else f"{plan.steps:,}",
            f"{gigabytes(plan.memory_bytes)} GB",
            duration(plan.seconds),
        ]
        for plan in plans
    ]
    if price is not None:
        columns.append("price")
        rows = [[*row, "-" if cost is None else f"${cost:,.2f}"] for row, cost in zip(rows, costs, strict=True)]
    show_table("the plan: what the run is going to take", columns, rows)
    known = [plan.seconds for plan in plans if plan.seconds is not None]
    if not known:
        say("plan: how long it takes was not asked (--time, plan.probe_seconds), or the model does not fit here")
        return None
    start = max(starts.values(), default=0.0)
    total = sum(known) + start
    parts = f"plan: {duration(total)} for {', '.join(plan.stage for plan in plans if plan.seconds is not None)}"
    parts += f", with {duration(start)} for the start of the command" if start else ""
    say(parts + ("" if price is None else f", ${_cost(config, total):,.2f} at ${price:g} an hour"))
    if starts:
        alone = ", ".join(f"{duration(seconds)} for {commands}" for commands, seconds in starts.items())
        say(f"plan: 'run' starts once; a stage on its own takes its start on top: {alone}")
    how = (
        f"reckoned from the work and {config.plan.mfu:.0%} of the peak of {config.plan.device}, without loads and saves"
        if config.plan.mfu is not None
        else "timed by a few real steps, or parts of some, on this device, as it was loaded just now"
    )
    if config.mine:
        say("plan: mining is not in it, and dpo is planned on the given pairs: those to be mined are not known yet")
    if config.guard.enabled and config.stages:
        share = f"about {config.guard.time_share:.0%} more of a stage"
        say(f"plan: what the guard asks on the way is not in it: {share}, or a few questions twice where that is more")
    say(f"plan: {how}; prepare and report are not in it. No row is ever cut: one that is too long is left out whole")
    return total


def _cost(config: Config, seconds: float | None) -> float | None:
    price = config.plan.price_per_hour
    return None if price is None or seconds is None else seconds / 3600 * price * config.launch.machines


def duration(seconds: float | None) -> str:
    """As a person says it: 48 s, 3 min 20 s, 2.4 h."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds) // 60} min {int(seconds) % 60} s"
    return f"{seconds / 3600:.1f} h"
