"""`calltune check`: all that can be known before time or money is spent; writes nothing."""

import shutil
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from calltune.calling.template_proof import Proof, prove_template
from calltune.calling.thinking_proof import prove_thoughts
from calltune.config.run_file import Config
from calltune.data.doctor.mix import stop_when_missing
from calltune.data.doctor.spool import Spool
from calltune.data.doctor.tell import show
from calltune.data.doctor.workers import pack
from calltune.data.preparation import Gathered, Source, diagnose, gather, open_sources, without_details, write_data
from calltune.data.sources.mcp_tools import changes_since
from calltune.evaluation.jobs import (
    SAMPLES_BETWEEN_SAVES,
    Job,
    ask,
    num_characters,
    open_backend,
    open_benchmarks,
    read_jobs,
)
from calltune.files.manifest import is_complete
from calltune.models.backends import OpenedBackend
from calltune.runtime.stopping import at_forced_end, ended_soon
from calltune.runtime.terminal import say, show_marked
from calltune.types import Rejected
from calltune.verbs.prepare import TOOLS, asked_questions, data_inputs

if TYPE_CHECKING:
    from calltune.calling.chat import Chat
    from calltune.training.estimate import Estimate
    from calltune.training.settings import StageSettings
    from calltune.training.steady import Budget


@ended_soon()
def run(config: Config, show_rows: int = 0, *, with_data: bool = True) -> Path:
    """Check names and keys, TRL's and PEFT's keys, the model's template, every row and question; say what holds.

    Args:
        show_rows: how many rows of each source are printed as they are trained on, with the trained tokens marked.
        with_data: whether rows and questions are read, which `prepare` does too.

    Returns:
        The run's folder, which is not touched.

    Raises:
        CalltuneError: the first thing that is wrong.
    """
    sources, benchmarks = open_sources(config), open_benchmarks(config)
    is_timed = with_data and config.plan.mfu is None and config.plan.probe_seconds > 0
    starts = _seconds_to_start(config) if is_timed else {}
    open_backend(config)
    say(f"check: run file: {len(sources)} sources, stages {', '.join(config.stages) or 'none'}")
    from calltune.training.settings import stage_settings

    stages = [stage_settings(config, stage) for stage in config.stages]
    say(f"check: TRL and PEFT know every key of {', '.join(f'[{s}]' for s in (*config.stages, 'lora'))}")
    if not with_data:
        _prove(config)
        return config.run_folder
    # A folder is looked at now. The Hub, which may take a minute to be found away, is asked when all else is right.
    proved = _prove(config) if Path(config.model).exists() else None
    with gather(config, sources) as gathered, Spool() as spool:
        asked, counted = asked_questions(config, gathered)
        say(f"check: {len(asked.names):,} questions of {len(benchmarks)} benchmarks can be read")
        if proved is None:
            # Rows are read with a tokenizer; whether there are any is told before the Hub is asked for it.
            for _, module, settings in sources:
                module.fingerprint(settings)
        chat, notes = proved or _prove(config)
        found = diagnose(
            _without_paid_requests(config), pack(chat, notes, config.chat.thinking), gathered, asked, spool
        )
        show(found.told)
        for line in changes_since(config.run_folder / "data" / TOOLS, gathered.catalogues):
            say(f"check: {line}")
        if show_rows > 0:
            _show_rows(sources, Proof(chat, config.chat.thinking), show_rows, gathered)
        stop_when_missing(config, found.told["behaviors"], counted)
        with (
            TemporaryDirectory(prefix="calltune-check-") as place,
            at_forced_end(partial(shutil.rmtree, place, ignore_errors=True)),
        ):
            trial = _trial(config, place)
            data, folder = config.run_folder / "data", trial.run_folder / "data"
            if is_complete(data, data_inputs(config, sources, asked)):
                folder.parent.mkdir()
                folder.symlink_to(data.resolve())
            else:
                write_data(trial, found, spool, folder, gathered)
            _tell_plan(trial, stages, starts)
    return config.run_folder


def _prove(config: Config) -> "tuple[Chat, Any]":
    """The model's tokenizer and template, and what its proof notes.

    Raises:
        ModelError: the Hub or the folder does not give them, or the proof fails.
    """
    from calltune.calling.chat import Chat
    from calltune.models.load import load_tokenizer

    chat = Chat(load_tokenizer(config.model, config.chat_template), config.model)
    notes = (*prove_template(chat), *prove_thoughts(chat, config.chat.thinking))
    say(f"check: the template of {config.model} passes its proof: tools once, calls read back, labels on the answer")
    return chat, notes


def _trial(config: Config, place: str) -> Config:
    """The run, written elsewhere and tracked nowhere else."""
    tracking = config.tracking.model_copy(update={"mlflow": config.tracking.mlflow and config.tracking.uri is None})
    return config.model_copy(update={"output": place, "tracking": tracking})


def _seconds_to_start(config: Config) -> dict[str, float]:
    """Import what `evaluate`, and the training commands, import; how long each would take alone.

    They are needed here too, so it is by this process's own start that theirs is known.
    """
    found, begun = {}, time.perf_counter()
    asked = ["mlflow", "calltune.models.backends.hf"] if config.tracking.mlflow else ["calltune.models.backends.hf"]
    with warnings.catch_warnings():
        # Packages warn of their own dependencies when they are imported; none of it is the user's to mend.
        warnings.simplefilter("ignore")
        for commands, modules in (("evaluate", asked), ("sft and dpo", ["calltune.verbs.sft", "calltune.verbs.dpo"])):
            for module in modules:
                import_module(module)
            found[commands] = time.perf_counter() - begun
    return found


def _tell_plan(config: Config, stages: "Sequence[StageSettings]", starts: dict[str, float]) -> None:
    if not config.stages and not config.evaluate.benchmarks:
        return
    from calltune.training import estimate as plan
    from calltune.training.steady import Budget
    from calltune.verbs import dpo, sft

    recipes = {"sft": sft.RECIPE, "dpo": dpo.RECIPE}
    budget = Budget(config.plan.probe_seconds, len(stages) + len(config.evaluate.benchmarks))
    plans = [plan.plan_training(config, settings, recipes[settings.stage], budget) for settings in stages]
    # A later round's pairs are not known either; as many as in the first are as good a guess.
    plans += [replace(plans[-1], stage=name) for name in config.checkpoints[len(config.stages) + 1 :]]
    if config.evaluate.benchmarks:
        plans.append(_plan_evaluation(config, budget))
    plan.show_plan(config, plans, starts)


def _plan_evaluation(config: Config, budget: "Budget") -> "Estimate":
    from calltune.models.load import load_skeleton
    from calltune.training.estimate import Questions, plan_evaluation
    from calltune.training.memory import shape_of

    load_backend, _ = open_backend(config)
    asked = []
    for job in read_jobs(config):
        samples, size = sorted(job.samples, key=num_characters, reverse=True), SAMPLES_BETWEEN_SAVES
        parts = [samples[start : start + size] for start in range(0, len(samples), size)]
        asked.append(Questions(job.title, parts, num_characters, partial(_ask, job)))
    # A server may be paid, and vLLM takes the whole device: they are not started for a look.
    is_timed = config.evaluate.backend == "hf"
    load = partial(load_backend, config.model) if is_timed else None
    return plan_evaluation(config, shape_of(load_skeleton(config.model)), asked, load, budget)


def _ask(job: Job, backend: OpenedBackend, samples: Sequence[Any]) -> object:
    return ask(backend, job, samples)


def _without_paid_requests(config: Config) -> Config:
    """The run file less the model that rewrites questions for `[data.derive]`: looking for mistakes costs nothing."""
    if config.data.derive is None:
        return config
    derive = config.data.derive.model_copy(update={"model": None})
    return config.model_copy(update={"data": config.data.model_copy(update={"derive": derive})})


def _show_rows(sources: Sequence[Source], proof: Proof, number: int, gathered: Gathered) -> None:
    say("rows as they are trained on; trained tokens are green, or stand between >>> and <<< where there is no colour")
    for entry, module, settings in sources:
        rows = without_details(module.read(settings), settings, gathered.redaction, lambda *_: None)
        for row in islice(rows, number):
            if isinstance(row, Rejected):
                say(f"--- {entry.title} {row.id}: cannot be read: {row.reason}")
                continue
            written = proof.row(row)
            if isinstance(written, str):
                say(f"--- {entry.title} {row.id}: {written}")
                continue
            for name, answer in zip(("chosen", "rejected"), written.answers, strict=False):
                part = f", {name}" if len(row.answers) > 1 else ""
                say(f"--- {entry.title} {row.id} ({row.behavior}){part}")
                show_marked(proof.pieces(written.prompt, answer))
