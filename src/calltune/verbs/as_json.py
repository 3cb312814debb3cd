"""`--json`: what a verb did, as one JSON object on stdout; whatever people are told on the way goes to stderr."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from calltune.files.json_lines import json_text, read_json
from calltune.files.manifest import MANIFEST, read_manifest
from calltune.runtime.processes import processes
from calltune.runtime.stopping import at_forced_end
from calltune.runtime.told import Told, listening, tell_program

if TYPE_CHECKING:
    from calltune.config.run_file import Config

_LEVEL = re.compile(r"(info|warning|error|note): ", re.IGNORECASE)


@dataclass(slots=True)
class Outcome:
    """How a verb ended: its exit code, 1 while that is not known."""

    exit_code: int = 1


@contextmanager
def in_json(verb: str) -> Iterator[Outcome]:
    """Print one JSON object on stdout when the block ends, however it ends, and everything else on stderr.

    A fault of calltune's own goes on as it would have; so does what ends the process where it is, whose object has no
    exit code.
    """
    outcome, is_first = Outcome(), processes().rank == 0
    with _stdout_kept() as out, listening() as told:

        def ended_where_it_is() -> None:
            tell_program(error="ended where it was, as it was told to stop and did not")
            _write(out, verb, None, told)

        try:
            with at_forced_end(ended_where_it_is) if is_first else at_forced_end(lambda: None):
                yield outcome
        except BaseException as error:
            outcome.exit_code = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1
            if "error" not in told.facts:
                fault = "" if isinstance(error, SystemExit) else f": {type(error).__name__}"
                tell_program(error=f"a fault of calltune's own{fault}; stderr has its traceback")
            raise
        finally:
            if is_first:
                _write(out, verb, outcome.exit_code, told)


def mistake_in_json(verb: str, text: str, exit_code: int) -> str:
    """The object for a mistake in the words themselves."""
    return _object(verb, exit_code, Told(facts={"error": text}))


def tell_outcome(config: "Config", verb: str, round_number: int = 1) -> None:
    """Tell a program what a stage left in the run's folder: manifests and results as they stand there."""
    from calltune.config.stages import of_round

    folder = config.run_folder
    stages = {"prepare": "data", "sft": "sft", "mine": of_round("mined", round_number)}
    stages |= {"dpo": of_round("dpo", round_number), "grpo": "grpo"}
    if stage := stages.get(verb):
        tell_program(folder=str(folder / stage), manifest=_manifest(folder / stage))
    if verb == "export":
        place = _exported(config)
        tell_program(folder=str(place), manifest=_manifest(place))
    if verb == "run":
        # Of older runs and of other programs there may be more.
        mined = [of_round("mined", number) for number in range(1, config.num_rounds + 1)] if config.mine else []
        found = {name: _manifest(folder / name) for name in sorted(("data", *mined, *config.checkpoints))}
        exported = {"export": _manifest(_exported(config))} if config.export else {}
        tell_program(folder=str(folder), stages={**{name: each for name, each in found.items() if each}, **exported})
    if verb in ("evaluate", "run"):
        places = [
            folder / "eval" / name / title
            for title in config.benchmark_titles
            for name in config.evaluate.checkpoints or config.checkpoints
        ]
        results = [read_json(p / "result.json", "run evaluate again") for p in places if (p / MANIFEST).is_file()]
        tell_program(folder=str(folder / "eval" if verb == "evaluate" else folder), results=results)


def _exported(config: "Config") -> Path:
    return Path(config.export.folder) if config.export and config.export.folder else config.run_folder / "export"


def _manifest(folder: Path) -> dict[str, Any] | None:
    return read_manifest(folder) if (folder / MANIFEST).is_file() else None


def _write(out: TextIO, verb: str, exit_code: int | None, told: Told) -> None:
    print_to(out, _object(verb, exit_code, told))


def print_to(out: TextIO, text: str) -> None:
    """Print a line, unless whoever asked reads no more."""
    try:
        out.write(text + "\n")
        out.flush()
    except BrokenPipeError:
        # What is left goes nowhere, or closing the file would fail in its turn.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, out.fileno())
        os.close(nowhere)


def _object(verb: str, exit_code: int | None, told: Told) -> str:
    """The object. A line that begins with its level, such as `WARNING: `, is among `remarks` too."""
    remarks = []
    for line in told.lines:
        if level := _LEVEL.match(line):
            remarks.append({"level": level[1].lower(), "text": line[level.end() :]})
    tables = {"tables": told.tables} if told.tables else {}
    return json_text(
        {"verb": verb, "exit_code": exit_code, **told.facts, "remarks": remarks, "lines": told.lines, **tables}
    )


@contextmanager
def _stdout_kept() -> Iterator[TextIO]:
    """Yield the program's stdout; until the end all that is printed, also by processes begun here, goes to stderr."""
    out = sys.stdout
    out.flush()
    try:
        number = out.fileno()
    except (OSError, ValueError):
        number = -1
    with redirect_stdout(sys.stderr):
        if number != 1:
            yield out
            return
        kept = os.dup(1)
        os.dup2(2, 1)
        try:
            # A lone surrogate, which a model may write, is kept as the escape it was read from.
            with os.fdopen(os.dup(kept), "w", encoding="utf-8", errors="backslashreplace") as file:
                yield file
        finally:
            os.dup2(kept, 1)
            os.close(kept)
