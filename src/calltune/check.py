"""`calltune check`: all that can be known before time or money is spent; writes nothing."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from calltune.backends import BACKENDS
from calltune.config import Config
from calltune.doctor.changes import ChangeLog
from calltune.doctor.mix import stop_when_missing
from calltune.doctor.spool import Spool
from calltune.doctor.tell import show
from calltune.doctor.workers import pack
from calltune.evaluate import open_benchmarks
from calltune.family import load_module
from calltune.prepare import Source, asked_questions, diagnose, held_out, open_sources
from calltune.template_proof import Proof, prove_template
from calltune.terminal import say, show_marked
from calltune.types import Example, Rejected


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
    load_module("backend", BACKENDS, config.evaluate.backend)
    say(f"check: run file: {len(sources)} sources, stages {', '.join(config.stages) or 'none'}")
    from calltune.arguments import trl_arguments
    from calltune.chat import Chat
    from calltune.models import load_tokenizer
    from calltune.tuning import check_tuning

    for stage in config.stages:
        trl_arguments(stage, config, config.run_folder / stage)
        check_tuning(config, stage)
    say(f"check: TRL and PEFT know every key of {', '.join(f'[{s}]' for s in (*config.stages, 'lora'))}")
    chat = Chat(load_tokenizer(config.model, config.chat_template), config.model)
    prove_template(chat)
    say(f"check: the template of {config.model} passes its proof: tools once, calls read back, labels on the answer")
    if not with_data:
        return config.run_folder
    asked, counted = asked_questions(config, held_out(config, sources)[1])
    say(f"check: {len(asked.names):,} questions of {len(benchmarks)} benchmarks can be read")
    with Spool() as spool, ChangeLog() as changes:
        found = diagnose(_without_paid_requests(config), pack(chat), sources, asked, spool, changes)
    show(found.told)
    if show_rows > 0:
        _show_rows(sources, Proof(chat), show_rows)
    stop_when_missing(config, found.told["behaviors"], counted)
    return config.run_folder


def _without_paid_requests(config: Config) -> Config:
    """The run file less the model that rewrites questions for `[data.derive]`: looking for mistakes costs nothing."""
    if config.data.derive is None:
        return config
    derive = config.data.derive.model_copy(update={"model": None})
    return config.model_copy(update={"data": config.data.model_copy(update={"derive": derive})})


def _show_rows(sources: Sequence[Source], proof: Proof, number: int) -> None:
    say("rows as they are trained on; trained tokens are green, or stand between >>> and <<< where there is no colour")
    for entry, module, settings in sources:
        for row in islice(module.read(settings), number):
            if isinstance(row, Rejected):
                say(f"--- {entry.title} {row.id}: cannot be read: {row.reason}")
                continue
            written = proof.row(row)
            if isinstance(written, str):
                say(f"--- {entry.title} {row.id}: {written}")
                continue
            for name, answer in zip(("chosen", "rejected"), written.answers, strict=False):
                part = "" if isinstance(row, Example) else f", {name}"
                say(f"--- {entry.title} {row.id} ({row.behavior}){part}")
                show_marked(proof.pieces(written.prompt, answer))
