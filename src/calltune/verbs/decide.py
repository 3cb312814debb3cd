"""`calltune decide`: what each checkpoint would do with a question, as probabilities, before it writes a word.

Without a question it tells how the checkpoints decide, and what that was worth where it was evaluated. What is learned
and calibrated for that is kept in `decide/<checkpoint>/`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any

from calltune.config.run_file import Config
from calltune.deciding.making import decision_of, rows_inputs, told
from calltune.errors import ConfigError, ModelError
from calltune.evaluation.decisions import Decided, Decision, deciding
from calltune.files.manifest import claim_run_folder
from calltune.report.page.inert import visible
from calltune.runtime.terminal import say, show_table
from calltune.runtime.told import tell_program
from calltune.types import Message, Sample
from calltune.verbs.decide_beside import Beside, beside
from calltune.verbs.try_ import checkpoints
from calltune.verbs.try_questions import names_of, offered


def run(config: Config, questions: Sequence[str] = (), tools_file: str | None = None) -> dict[str, Any]:
    """Tell what each checkpoint would do with a question, or how it decides.

    Args:
        questions: one or none.
        tools_file: a JSON file of tools, in place of the run's own.

    Returns:
        What was told by checkpoint, as JSON has it.

    Raises:
        CalltuneError: the words contradict each other, rows are missing, or a model cannot be asked.
    """
    if len(questions) > 1:
        raise ConfigError(f"decide takes one question, not {len(questions)}; put it in quotes")
    if tools_file and not questions:
        raise ConfigError("--tools goes with a question")
    rows_inputs(config)
    claim_run_folder(config)
    found = _asked(config, questions[0], tools_file) if questions else _decisions(config)
    tell_program(checkpoints=found)
    return found


def _asked(config: Config, question: str, tools_file: str | None) -> dict[str, Any]:
    offer = offered(config, tools_file)
    say(f"tools: {visible(names_of(offer.tools))} ({offer.origin})")
    sample = Sample("decide", "decide", (Message("user", question),), offer.tools, None)
    found = {}
    for name, load in checkpoints(config):
        loaded = cache(load)
        decision = decision_of(config, name, loaded)
        (decided,) = decision.decide(deciding(loaded()), [sample])
        if decided is None:
            raise ModelError(f"decide: {name}: a log-likelihood is not finite (look at its weights)")
        say(f"{name}: {decided_words(decided, decision)}")
        found[name] = {**asdict(decided), **_facts(decision)}
    return found


def decided_words(decided: Decided, decision: Decision) -> str:
    """A decision for people, with what it is worth."""
    beyond = f"; {decided.outside:.0%} of its answers would begin as none of the known ones"
    calibrated = "" if decision.calibration.num_rows else " (not calibrated)"
    return f"{decided.words()}{calibrated}{beyond if decided.outside >= 0.05 else ''}"


def _decisions(config: Config) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, load in checkpoints(config):
        decision = decision_of(config, name, load)
        say(f"{name}: {told(decision)}")
        found[name] = _facts(decision)
    worth = beside(config)
    if worth:
        _show(worth)
    else:
        say('what they are worth is told when a benchmark named "decide" was evaluated')
    for name, each in worth.items():
        if name in found:
            found[name]["evaluated"] = asdict(each)
    return found


def _facts(decision: Decision) -> dict[str, Any]:
    calibration = decision.calibration
    return {
        "is_calibrated": bool(calibration.num_rows),
        "threshold": calibration.threshold,
        "temperature": calibration.temperature,
        "num_tokens": decision.beginnings.num_tokens,
    }


def _show(worth: Mapping[str, Beside]) -> None:
    columns = ("checkpoint", "questions", "ECE raw", "calibrated", "95 %", "Brier", "AUROC call")
    rows = [
        (
            name,
            f"{each.num_questions:,}",
            f"{each.ece_raw:.3f}",
            f"{each.ece:.3f}",
            "{:+.3f} to {:+.3f}".format(*each.ece_interval),
            f"{each.brier_raw:.3f} to {each.brier:.3f}",
            "-" if each.auroc_call is None else f"{each.auroc_call:.3f}",
        )
        for name, each in worth.items()
    ]
    show_table("probabilities, before and after calibration", columns, rows)
    compared = [
        (
            name,
            f"{each.num_written:,}",
            f"{100 * (each.accuracy_decided or 0):.1f} %",
            f"{100 * (each.accuracy_written or 0):.1f} %",
            "{:+.1f} to {:+.1f}".format(*(100 * end for end in each.written_interval)),
        )
        for name, each in worth.items()
        if each.written_interval
    ]
    if compared:
        show_table("right decisions", ("checkpoint", "questions", "decided", "written", "points, 95 %"), compared)
