"""What a model would do, as probabilities of the four behaviours, from one pass over the prompt and a small trie.

`decide.json` holds what that takes beside the model: how its training answers begin, the calibration on held-out rows,
and the operating point.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from calltune.errors import ConfigError
from calltune.evaluation.calibration import LEAST, Calibration
from calltune.files.state import State, read_state
from calltune.models.beginnings import Beginning, Beginnings
from calltune.types import BEHAVIORS, Behavior, Completion, Sample

FILE = "decide.json"
RAW = "raw_"
"""Before the name of a behaviour in a completion's `logprobs`: the probability before calibration."""

OUTSIDE = "outside"
_WORDS: Mapping[Behavior, str] = {
    "tool_call": "call",
    "request_for_info": "ask",
    "cannot_answer": "refuse",
    "direct": "answer",
}
_LEAST_OUTSIDE = 1e-12


class DecisionFile(State):
    """`decide.json`."""

    mend: ClassVar[str] = "remove its folder and run 'calltune decide' again"
    beginnings: list[dict[str, Any]]
    num_answers: int
    num_left_out: int
    calibration: dict[str, Any]


class DecidingBackend(Protocol):
    """A backend that tells how likely an answer begins with given tokens."""

    def path_loglikelihoods(self, samples: Sequence[Sample], paths: Sequence[Sequence[int]]) -> list[list[float]]:
        """Per sample and path, the natural log-probability that the answer begins with the path's tokens."""
        ...


@dataclass(frozen=True, slots=True)
class Decided:
    """What a model would do with one question; probabilities are by behaviour.

    `raw` are those before calibration, `outside` is what falls on answers that begin as none of the known ones.
    """

    behavior: Behavior
    probabilities: Mapping[Behavior, float]
    raw: Mapping[Behavior, float]
    outside: float

    def words(self) -> str:
        """For people: `call 0.93, ask 0.04, ...`."""
        return ", ".join(f"{word} {self.probabilities[name]:.2f}" for name, word in _WORDS.items())


@dataclass(frozen=True, slots=True)
class Decision:
    """How a checkpoint decides."""

    beginnings: Beginnings
    calibration: Calibration

    def of(self, logprobs: Sequence[Sequence[float]]) -> list[Decided | None]:
        """What is decided by the log-probabilities of the paths after each prompt; None where one is no number."""
        values = np.array(logprobs, dtype=np.float64).reshape(len(logprobs), len(self.beginnings.paths))
        is_finite: Any = np.isfinite(values).all(axis=1)
        raw, outside = self.beginnings.weigh(np.where(is_finite[:, None], values, 0.0))
        calibrated = self.calibration.probabilities(raw)
        return [
            Decided(self.calibration.decided(row), _named(row), _named(before), float(beyond)) if whole else None
            for row, before, beyond, whole in zip(calibrated, raw, outside, is_finite, strict=True)
        ]

    def decide(self, backend: DecidingBackend, samples: Sequence[Sample]) -> list[Decided | None]:
        """What a model would do with each question."""
        return self.of(backend.path_loglikelihoods(samples, [path.tokens for path in self.beginnings.paths]))


def completions(backend: Any, decision: Decision, samples: Sequence[Sample]) -> list[Completion]:
    """Decisions as completions: the text is the behaviour, `logprobs` are of all probabilities."""
    decided = decision.decide(deciding(backend), samples)
    return [_completion(sample, each) for sample, each in zip(samples, decided, strict=True)]


def deciding(backend: Any) -> DecidingBackend:
    """A backend that decides.

    Raises:
        ConfigError: this one does not tell how likely tokens are.
    """
    if not hasattr(backend, "path_loglikelihoods"):
        raise ConfigError('decide needs evaluate.backend = "hf": the others do not tell how likely tokens are')
    return backend


def read_decision(folder: Path) -> Decision:
    """The decision that a folder holds.

    Raises:
        RunFolderError: its file is missing, or of another shape.
    """
    row = read_state(folder / FILE, DecisionFile)
    paths = tuple(Beginning(tuple(each["tokens"]), each["counts"]) for each in row["beginnings"])
    known = row["calibration"]
    biases = tuple(known["biases"][name] for name in BEHAVIORS)
    calibration = Calibration(known["temperature"], biases, known["threshold"], known["num_rows"])
    return Decision(Beginnings(paths, row["num_answers"], row["num_left_out"]), calibration)


def decision_json(decision: Decision) -> dict[str, Any]:
    """A decision as `read_decision` reads it; `least` is what a probability counts as before its logarithm."""
    beginnings, calibration = decision.beginnings, decision.calibration
    return {
        "behaviors": list(BEHAVIORS),
        "beginnings": [{"tokens": list(path.tokens), "counts": dict(path.counts)} for path in beginnings.paths],
        "num_answers": beginnings.num_answers,
        "num_left_out": beginnings.num_left_out,
        "calibration": {
            "temperature": calibration.temperature,
            "biases": dict(zip(BEHAVIORS, calibration.biases, strict=True)),
            "threshold": calibration.threshold,
            "num_rows": calibration.num_rows,
            "least": LEAST,
        },
    }


def _named(row: np.ndarray) -> dict[Behavior, float]:
    return dict(zip(BEHAVIORS, map(float, row), strict=True))


def _completion(sample: Sample, decided: Decided | None) -> Completion:
    if decided is None:
        reason = "the log-likelihood of a beginning is not finite (look at the model's weights)"
        return Completion(sample.id, None, "", "error", reason=reason)
    logprobs = {
        **{name: _log(value) for name, value in decided.probabilities.items()},
        **{RAW + name: _log(value) for name, value in decided.raw.items()},
        OUTSIDE: _log(decided.outside),
    }
    return Completion(sample.id, None, decided.behavior, "ok", logprobs=logprobs)


def _log(value: float) -> float:
    return float(np.log(max(value, _LEAST_OUTSIDE)))
