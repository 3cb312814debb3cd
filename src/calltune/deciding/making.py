"""How a checkpoint decides, made once of the run's own rows and kept in `decide/<checkpoint>/` beside the checkpoint.

How answers begin is learned from the rows that were trained on; what was held out of training calibrates it. No
benchmark's question enters.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from calltune.calling.chat import Chat
from calltune.calling.thoughts import without_thought
from calltune.config.run_file import Config
from calltune.data.randomness import unit_interval
from calltune.data.rows import read_examples, read_preferences
from calltune.errors import ConfigError, DataError, ModelError
from calltune.evaluation.calibration import LEAST_ROWS, Calibration, fit, is_fit
from calltune.evaluation.decision_statistics import calibration_error
from calltune.evaluation.decisions import FILE, DecidingBackend, Decision, deciding, decision_json, read_decision
from calltune.evaluation.jobs import SAMPLES_BETWEEN_SAVES, alike_together, open_backend, require_deciding
from calltune.files.hashes import file_sha256
from calltune.files.json_lines import write_json
from calltune.files.manifest import begin, finish, is_complete, model_sha256, template_sha256
from calltune.models.beginnings import DEPTH, MOST_PATHS, MOST_TOKENS, Beginnings, learn
from calltune.runtime.terminal import ProgressBar, say
from calltune.types import BEHAVIORS, Behavior, Example, Sample, chosen_example

_TRAINED, _HELD_OUT = ("train", "preferences"), ("validation", "validation_preferences")
_MOST_LEARNED, _MOST_HELD_OUT = 4000, 512
_UNCALIBRATED = (
    f"not calibrated, as fewer than {LEAST_ROWS} rows of several behaviours are held out ('data.validation_fraction')"
)


def decision_folder(config: Config, checkpoint: str) -> Path:
    """Where a checkpoint's decision is kept."""
    return config.run_folder / "decide" / checkpoint


def rows_inputs(config: Config) -> dict[str, Any]:
    """What a decision depends on beside the model: the run's rows, the chat template, and how much is learned.

    Raises:
        ConfigError: as `require_deciding`, or nothing is prepared yet.
    """
    require_deciding(config)
    files = [config.run_folder / "data" / f"{name}.jsonl" for name in (*_TRAINED, *_HELD_OUT)]
    if not files[0].is_file():
        raise ConfigError(f"{files[0].parent}: there is no data of this run yet ('calltune prepare')")
    return {
        "rows": {file.name: file_sha256(file) for file in files if file.is_file()},
        "chat template": template_sha256(config),
        "bounds": [DEPTH, MOST_TOKENS, MOST_PATHS, _MOST_LEARNED, _MOST_HELD_OUT],
        "fit": "each behaviour counts the same",
    }


def known_decision(config: Config, checkpoint: str) -> Decision | None:
    """A checkpoint's decision as it was made, or None where there is none of the checkpoint and the rows as they are.

    Raises:
        CalltuneError: as `rows_inputs`, or the file is of another shape.
    """
    folder = decision_folder(config, checkpoint)
    return read_decision(folder) if is_complete(folder, _inputs(config, checkpoint), FILE) else None


def usable_decision(config: Config, checkpoint: str) -> Decision | None:
    """A checkpoint's decision, where `calltune decide` made and calibrated one of it as it is now.

    None where nobody asked for one. Where it was made and cannot be used any more, a line says why.

    Raises:
        RunFolderError: its file is of another shape.
    """
    if not (decision_folder(config, checkpoint) / FILE).is_file():
        return None
    why = "it was made of other weights, rows, template or backend; 'calltune decide' makes it anew"
    try:
        decision = known_decision(config, checkpoint)
    except ConfigError as error:
        decision, why = None, str(error)
    if decision and decision.calibration.num_rows:
        return decision
    say(f"{checkpoint}: what it would decide is left out: {'it is not calibrated' if decision else why}")
    return None


def decision_of(config: Config, checkpoint: str, load: Callable[[], Any]) -> Decision:
    """A checkpoint's decision, made where it is not there yet.

    Args:
        load: gives the checkpoint's backend; it is asked for only then.

    Raises:
        CalltuneError: rows are broken or all of one behaviour, or the model cannot be asked.
    """
    if decision := known_decision(config, checkpoint):
        return decision
    inputs, folder = _inputs(config, checkpoint), decision_folder(config, checkpoint)
    loaded = load()
    backend, chat = deciding(loaded), loaded.chat
    trained = _rows(config, _TRAINED, _MOST_LEARNED)
    if not trained:
        raise DataError(f"{config.run_folder / 'data'}: holds no rows to train on, so there is no decision")
    beginnings = learn(_answers(chat, trained))
    if len({name for path in beginnings.paths for name in path.counts}) < 2:
        raise DataError(f"{config.run_folder / 'data'}: its answers are all of one behaviour, so there is no decision")
    held_out = _rows(config, _HELD_OUT, _MOST_HELD_OUT)
    if moved := begin(folder, inputs):
        say(moved)
    calibration, measured = _calibrated(backend, beginnings, held_out, checkpoint)
    decision = Decision(beginnings, calibration)
    # Texts are for people; programs read the tokens.
    table = decision_json(decision)
    for row in table["beginnings"]:
        row["text"] = chat.tokenizer.decode(row["tokens"])
    write_json(folder / FILE, {"checkpoint": checkpoint, **table, "held_out": measured})
    finish(folder, inputs, counts={"answers": beginnings.num_answers, "held_out": len(held_out)})
    say(f"decide: {checkpoint}: {told(decision)}")
    return decision


def told(decision: Decision) -> str:
    """What was learned, in a line."""
    beginnings, calibration = decision.beginnings, decision.calibration
    learned = (
        f"{len(beginnings.paths):,} beginnings of {beginnings.num_answers:,} training answers, "
        f"{beginnings.num_tokens} tokens a question"
    )
    if not calibration.num_rows:
        return f"{learned}; {_UNCALIBRATED}"
    return (
        f"{learned}; calibrated on {calibration.num_rows:,} held-out rows: temperature {calibration.temperature:.2f}, "
        f"a call from {calibration.threshold:.2f} on"
    )


def too_few_held_out(config: Config) -> str:
    """What is lost as too few of the prepared rows are held out; an empty text where they are enough."""
    return "" if is_fit([row.behavior for row in _rows(config, _HELD_OUT, _MOST_HELD_OUT)]) else _UNCALIBRATED


def _inputs(config: Config, checkpoint: str) -> dict[str, Any]:
    model = config.checkpoint_folder(checkpoint)
    backend = {"name": config.evaluate.backend, **open_backend(config)[1]}
    return {**rows_inputs(config), "model": model_sha256(model), "backend": backend}


def _rows(config: Config, names: Sequence[str], most: int) -> list[Example]:
    """The rows of some files as examples, without thoughts; of more than `most` those that their names draw."""
    files = [config.run_folder / "data" / f"{name}.jsonl" for name in names]
    rows = [
        *(read_examples(files[0]) if files[0].is_file() else []),
        *(map(chosen_example, read_preferences(files[1])) if files[1].is_file() else []),
    ]
    rows.sort(key=lambda row: (unit_interval("decide", row.source, row.id), row.id))
    return [without_thought(row) for row in rows[:most]]


def _answers(chat: Chat, rows: Sequence[Example]) -> Iterator[tuple[list[int], Behavior]]:
    """The tokens of each answer, as it follows its prompt."""
    for row in rows:
        text = chat.answer(row.prompt, row.tools, row.answers[0])
        yield chat.tokenizer(text, add_special_tokens=False).input_ids, row.behavior


def _calibrated(
    backend: DecidingBackend, beginnings: Beginnings, rows: Sequence[Example], checkpoint: str
) -> tuple[Calibration, dict[str, float | int]]:
    """A calibration on held-out rows, and how far off probabilities are on these before and after it."""
    samples = alike_together([Sample(f"{n}", "decide", r.prompt, r.tools, r.behavior) for n, r in enumerate(rows)])
    if not samples:
        return Calibration(), {"num_rows": 0}
    paths, logprobs = [path.tokens for path in beginnings.paths], list[list[float]]()
    with ProgressBar(f"deciding {checkpoint}", len(samples)) as bar:
        for start in range(0, len(samples), SAMPLES_BETWEEN_SAVES):
            part = samples[start : start + SAMPLES_BETWEEN_SAVES]
            logprobs += backend.path_loglikelihoods(part, paths)
            bar.advance(len(part))
    values = np.array(logprobs)
    if not np.isfinite(values).all():
        raise ModelError(f"decide: {checkpoint}: log-likelihoods of beginnings are not finite (look at its weights)")
    raw, outside = beginnings.weigh(values)
    targets: list[Behavior] = [sample.target for sample in samples]
    calibration = fit(raw, targets)
    numbers = np.array([BEHAVIORS.index(name) for name in targets])
    return calibration, {
        "num_rows": len(samples),
        "ece_raw": _top_error(raw, numbers),
        "ece": _top_error(calibration.probabilities(raw), numbers),
        "outside": float(outside.mean()),
    }


def _top_error(probabilities: np.ndarray, numbers: np.ndarray) -> float:
    return calibration_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == numbers)
