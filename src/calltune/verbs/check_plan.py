"""The plan that `calltune check` tells: how many steps and questions, in which memory, and with `--time` how long."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from calltune.config.run_file import Config
from calltune.config.stages import of_round
from calltune.evaluation.benchmarks import decides, is_free
from calltune.evaluation.decisions import deciding
from calltune.evaluation.jobs import SAMPLES_BETWEEN_SAVES, Job, ask, num_characters, open_backend, read_jobs
from calltune.evaluation.power import power_line
from calltune.models.beginnings import MOST_TOKENS
from calltune.runtime.notes import Notes

if TYPE_CHECKING:
    from calltune.calling.chat import Chat
    from calltune.models.backends import OpenedBackend
    from calltune.training.estimate import Estimate
    from calltune.training.settings import StageSettings
    from calltune.training.steady import Budget

_ROOM = "max_new_tokens"
_FEW_STEPS = 30
"""Optimiser steps below which a stage hardly moves a model at the rates of a usual run."""


def as_timed(config: Config, with_time: bool) -> Config:
    """The run file as it is, or so that no time is taken and none reckoned."""
    if with_time:
        return config
    return config.model_copy(
        update={"plan": config.plan.model_copy(update={"probe_seconds": 0.0, "device": None, "mfu": None})}
    )


def trial_of(config: Config, place: str) -> Config:
    """The run, written elsewhere and tracked nowhere else."""
    tracking = config.tracking.model_copy(update={"mlflow": config.tracking.mlflow and config.tracking.uri is None})
    return config.model_copy(update={"output": place, "tracking": tracking})


def seconds_to_start(config: Config) -> dict[str, float]:
    """Import what `evaluate`, and the training commands, import; how long each would take alone.

    They are needed here too, so it is by this process's own start that theirs is known.
    """
    found, begun = {}, time.perf_counter()
    names = ["sft", "dpo", *(["grpo"] if "grpo" in config.stages else [])]
    training = f"{', '.join(names[:-1])} and {names[-1]}", [f"calltune.verbs.{name}" for name in names]
    asked = ["mlflow", "calltune.models.backends.hf"] if config.tracking.mlflow else ["calltune.models.backends.hf"]
    with warnings.catch_warnings():
        # Packages warn of their own dependencies when they are imported; none of it is the user's to mend.
        warnings.simplefilter("ignore")
        for commands, modules in (("evaluate", asked), training):
            for module in modules:
                import_module(module)
            found[commands] = time.perf_counter() - begun
    return found


def tell_plan(
    config: Config, stages: "Sequence[StageSettings]", starts: dict[str, float], notes: Notes, chat: "Chat"
) -> float | None:
    """Tell how much there is to train on and to ask, and the plan; return its seconds, None where none say."""
    if not config.stages and not config.evaluate.benchmarks:
        return None
    from calltune.deciding.making import too_few_held_out
    from calltune.evaluation.room import cut_off, known_answers
    from calltune.training import estimate as plan
    from calltune.training.steady import Budget

    recipes = {stage: import_module(f"calltune.verbs.{stage}").RECIPE for stage in config.stages}
    budget = Budget(config.plan.probe_seconds, len(stages) + len(config.evaluate.benchmarks))
    plans = [plan.plan_training(config, settings, recipes[settings.stage], budget) for settings in stages]
    weighed = list(zip(plans, stages, strict=True))
    # A later round's pairs are not known either; as many as in the first are as good a guess.
    for number in range(2, config.num_rounds + 1):
        first = next(place for place, each in enumerate(plans) if each.stage == "dpo")
        plans.insert(first + number - 1, replace(plans[first], stage=of_round("dpo", number)))
    if config.mine:
        _weigh_room(config, chat, notes)
    jobs = read_jobs(config)
    if jobs:
        plans.append(_plan_evaluation(config, jobs, budget))
    seconds = plan.show_plan(config, plans, starts)
    for each, settings in weighed:
        if not (config.mine and settings.stage == "dpo"):
            _weigh_stage(each, settings, notes)
    for job in jobs:
        if decides(job.module) and (why := too_few_held_out(config)):
            notes.warning(f"{job.title}: {why}")
        if is_free(job.module) and (line := cut_off(chat, known_answers(job), job.settings.max_new_tokens, _ROOM)):
            notes.warning(f"{job.title}: {line}")
        is_few, line = power_line(job.title, len(job.samples))
        if is_few:
            notes.warning(f"{line}; add conversations, or raise data.derive.held_out")
        else:
            notes.info(line)
    return seconds


def _weigh_room(config: Config, chat: "Chat", notes: Notes) -> None:
    """Warn of mining that cuts off what the training rows answer."""
    from calltune.data.rows import read_examples
    from calltune.evaluation.room import Known, cut_off

    rows = read_examples(config.run_folder / "data" / "train.jsonl")
    known = (Known(row.id, row.prompt, row.tools, row.answers[0]) for row in rows)
    if config.mine and (line := cut_off(chat, known, config.mine.max_new_tokens, f"mine.{_ROOM}")):
        notes.warning(f"mine: {line}")


def _weigh_stage(plan: "Estimate", settings: "StageSettings", notes: Notes) -> None:
    """Say how many steps a stage has, and warn where they are too few to change anything."""
    steps, kind = plan.steps or 0, {"sft": "rows", "dpo": "pairs", "grpo": "questions"}[settings.stage]
    line = f"{plan.stage}: {steps:,} step{'s'[: steps != 1]} with {plan.rows:,} {kind}"
    if steps >= _FEW_STEPS:
        notes.info(line)
        return
    notes.warning(
        f"{line}: too few to move a model much; raise {settings.stage}.num_train_epochs, lower "
        f"{settings.stage}.gradient_accumulation_steps, or add rows ('calltune init' sets sizes and rates by the rows)"
    )


def _plan_evaluation(config: Config, jobs: Sequence[Job], budget: "Budget") -> "Estimate":
    from calltune.models.load import load_skeleton
    from calltune.training.estimate import Questions, plan_evaluation
    from calltune.training.memory import shape_of

    load_backend, _ = open_backend(config)
    asked = []
    for job in jobs:
        samples, size = sorted(job.samples, key=num_characters, reverse=True), SAMPLES_BETWEEN_SAVES
        parts = [samples[start : start + size] for start in range(0, len(samples), size)]
        asked.append(Questions(job.title, parts, num_characters, partial(_ask, job)))
    # A server may be paid, and vLLM takes the whole device: they are not started for a look.
    is_timed = config.evaluate.backend == "hf"
    load = partial(load_backend, config.model) if is_timed else None
    return plan_evaluation(config, shape_of(load_skeleton(config.model)), asked, load, budget)


def _ask(job: Job, backend: "OpenedBackend", samples: Sequence[Any]) -> object:
    if decides(job.module):
        # How answers begin is learned later; here a path stands for the trie that computes as much.
        return deciding(backend).path_loglikelihoods(samples, [range(MOST_TOKENS + 1)])
    return ask(backend, job, samples)
