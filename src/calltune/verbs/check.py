"""`calltune check`: all that can be known before time or money is spent; writes nothing.

What is here comes first, in less than a second: paths, names and keys. Then the libraries, the model's template and the
data are looked at, and last, with `--time`, some real steps. What is heavy is imported when its turn comes.
"""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from calltune.calling.shipped import SHIPPED
from calltune.config.entries import open_entries
from calltune.config.model_name import model_name
from calltune.config.run_file import Config
from calltune.config.stages import STAGES
from calltune.data.sources import SOURCES
from calltune.data.sources.places import misplaced
from calltune.errors import CalltuneError, DataError
from calltune.evaluation.jobs import misplaced_questions, open_backend, open_benchmarks, own_questions, require_backend
from calltune.models.folder import require_folder_or_hub_id
from calltune.models.gguf_packages import require_packages
from calltune.runtime.extras import INSTALL_TRAIN, missing_package
from calltune.runtime.notes import Notes
from calltune.runtime.stopping import at_forced_end, ended_soon
from calltune.runtime.terminal import say, show_marked
from calltune.runtime.told import tell_program
from calltune.types import Rejected
from calltune.verbs.check_plan import as_timed, seconds_to_start, tell_plan, trial_of

if TYPE_CHECKING:
    from calltune.calling.chat import Chat
    from calltune.calling.template_proof import Proof
    from calltune.data.preparation import Gathered, Source
    from calltune.training.settings import StageSettings


@ended_soon()
def run(config: Config, show_rows: int = 0, with_time: bool = False, *, with_data: bool = True) -> Path:
    """Check names and keys, TRL's and PEFT's keys, the model's template, every row and question; say what holds.

    Args:
        show_rows: how many rows of each source are printed as they are trained on, with the trained tokens marked.
        with_time: whether some real steps and questions are timed.
        with_data: whether rows and questions are read, which `prepare` does too.

    Returns:
        The run's folder, which is not touched.

    Raises:
        CalltuneError: something is wrong. Of what is known by the run file alone all is told at once, else the first.
    """
    notes = Notes()
    _look_here(config, notes)
    if with_data and (package := missing_package()):
        notes.warning(
            f"{package} is not installed, so the model's template, rows, questions and time are not looked at: "
            f"{INSTALL_TRAIN} ('calltune audit PATH' looks at rows without it)"
        )
        say(f"{notes.told()}. Next: {INSTALL_TRAIN}")
        tell_program(next=INSTALL_TRAIN)
        return config.run_folder
    is_timed = with_time and with_data and config.plan.mfu is None and config.plan.probe_seconds > 0
    starts = seconds_to_start(config) if is_timed else {}
    open_backend(config)
    from calltune.training.settings import stage_settings

    stages = [stage_settings(config, stage) for stage in config.stages]
    notes.info(f"TRL and PEFT know every key of {', '.join(f'[{s}]' for s in (*config.stages, 'lora'))}")
    if not with_data:
        _prove(config, notes)
        return config.run_folder
    # A folder is looked at now. The Hub, which may take a minute to be found away, is asked when all else is right.
    proved = _prove(config, notes) if Path(config.model).exists() else None
    seconds = _look_at_data(as_timed(config, with_time), notes, proved, stages, starts, show_rows)
    _tell_next(config, notes, seconds)
    return config.run_folder


def _look_here(config: Config, notes: Notes) -> None:
    """Look at what neither the libraries nor the data are needed for.

    Raises:
        ConfigError: something is wrong; all of it is told.
    """

    def look(what: Any, *given: Any) -> Any:
        try:
            return what(*given)
        except CalltuneError as error:
            notes.error(error)
            return []

    sources = look(open_entries, SOURCES, config.data.sources, "data.sources", config.run_folder)
    benchmarks = look(open_benchmarks, config)
    look(require_backend, config)
    look(require_folder_or_hub_id, config.model)
    look(require_packages, config.export.gguf if config.export else ())
    for number, (_, _, settings) in enumerate(sources):
        for problem in misplaced(settings, f"data.sources.{number}"):
            notes.error(problem)
    for problem in misplaced_questions(benchmarks, config.run_folder):
        notes.error(problem)
    files = {"chat_template": config.chat_template} if config.chat_template not in SHIPPED else {}
    for name in ("", *STAGES):
        tuning = config.tuning if not name else getattr(config.tuning, name)
        files[f"tuning.{name}.spectrum_file".replace("..", ".")] = tuning and tuning.spectrum_file
    for key, file in files.items():
        if file and not Path(file).is_file():
            notes.error(f"{key}: {file}: no such file")
    notes.stop_at_errors()
    number = len(config.data.sources)
    notes.info(f"run file: {number} source{'s'[: number != 1]}, stages {', '.join(config.stages) or 'none'}")


def _look_at_data(
    config: Config,
    notes: Notes,
    proved: "tuple[Chat, Any] | None",
    stages: "Sequence[StageSettings]",
    starts: dict[str, float],
    show_rows: int,
) -> float | None:
    """Look at rows, questions, and what the run makes of them; return the seconds it takes, None where none say."""
    from calltune.calling.template_proof import Proof
    from calltune.data.doctor.mix import stop_when_missing
    from calltune.data.doctor.spool import Spool
    from calltune.data.doctor.tell import show
    from calltune.data.doctor.workers import pack
    from calltune.data.preparation import diagnose, gather, open_sources, write_data
    from calltune.data.sources.mcp_tools import changes_since
    from calltune.files.manifest import is_complete
    from calltune.verbs.prepare import TOOLS, asked_questions, data_inputs

    sources = open_sources(config)
    with gather(config, sources) as gathered, Spool() as spool:
        asked, counted = asked_questions(config, gathered)
        notes.info(f"{len(asked.names):,} questions of {len(config.evaluate.benchmarks)} benchmarks can be read")
        if proved is None:
            # Rows are read with a tokenizer; whether there are any is told before the Hub is asked for it.
            for _, module, settings in sources:
                module.fingerprint(settings)
        chat, template = proved or _prove(config, notes)
        packed = pack(chat, template, config.chat.thinking)
        found = diagnose(_without_paid_requests(config), packed, gathered, asked, spool)
        show(found.told)
        for line in changes_since(config.run_folder / "data" / TOOLS, gathered.catalogues):
            notes.warning(f"{line}; look whether the rows still fit them")
        if show_rows > 0:
            _show_rows(sources, Proof(chat, config.chat.thinking), show_rows, gathered)
        stop_when_missing(config, found.told["behaviors"], counted)
        _weigh_rows(found.told, gathered, notes)
        for title, number in own_questions(config, gathered.tests):
            if not number:
                raise DataError(
                    f"{title}: no question can be made of what is held out; add conversations, raise "
                    "'data.derive.held_out', or give this benchmark another 'path'"
                )
        with (
            TemporaryDirectory(prefix="calltune-check-") as place,
            at_forced_end(partial(shutil.rmtree, place, ignore_errors=True)),
        ):
            trial = trial_of(config, place)
            data, folder = config.run_folder / "data", trial.run_folder / "data"
            if is_complete(data, data_inputs(config, sources, asked)):
                folder.parent.mkdir()
                folder.symlink_to(data.resolve())
            else:
                write_data(trial, found, spool, folder, gathered)
            return tell_plan(trial, stages, starts, notes, chat)


def _weigh_rows(told: Mapping[str, Any], gathered: "Gathered", notes: Notes) -> None:
    """Warn of rows that are left out, and of behaviours of which too little is left to train."""
    left_out = Counter[str]()
    for source in told["rows"].values():
        left_out.update(source["rejected"])
    if left_out:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in left_out.most_common())
        notes.warning(f"rows are left out ({kinds}): the lines above name the first of each; docs/doctor.md says more")
    left = Counter[str]()
    for counts in told["behaviors"]["sft"].values():
        left.update(counts)
    for behavior, held in sorted(Counter(row.behavior for row in gathered.kept_back).items()):
        if not left[behavior]:
            notes.warning(
                f"{behavior}: {held:,} answers held out, 0 left to train; lower data.derive.held_out, or add rows"
            )


def _tell_next(config: Config, notes: Notes, seconds: float | None) -> None:
    from calltune.training.estimate import duration

    how_long = f"about {duration(seconds)}" if seconds is not None else "how long it takes: calltune check --time"
    say(f"{notes.told()}. Next: calltune run {config.words} ({how_long})")
    tell_program(next=f"calltune run {config.words}", seconds=seconds)


def _prove(config: Config, notes: Notes) -> "tuple[Chat, Any]":
    """The model's tokenizer and template, and what its proof notes.

    Raises:
        ModelError: the Hub or the folder does not give them, or the proof fails.
    """
    from calltune.calling.chat import Chat
    from calltune.calling.template_proof import prove_template
    from calltune.calling.thinking_proof import prove_thoughts
    from calltune.models.load import load_tokenizer

    chat = Chat(load_tokenizer(config.model, config.chat_template), config.model)
    proof = (*prove_template(chat), *prove_thoughts(chat, config.chat.thinking))
    named = model_name(config.model)
    notes.info(f"the template of {named} passes its proof: tools once, calls read back, labels on the answer")
    return chat, proof


def _without_paid_requests(config: Config) -> Config:
    """The run file less the model that rewrites questions for `[data.derive]`: looking for mistakes costs nothing."""
    if config.data.derive is None:
        return config
    derive = config.data.derive.model_copy(update={"model": None})
    return config.model_copy(update={"data": config.data.model_copy(update={"derive": derive})})


def _show_rows(sources: "Sequence[Source]", proof: "Proof", number: int, gathered: "Gathered") -> None:
    from calltune.data.preparation import without_details

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
