"""What each arm of agent_seeds.py changes of the run file, the most telling first.

None takes a table out; a `Times` multiplies what the run file says.
"""

import copy
import tomllib
from dataclasses import dataclass
from typing import Any

from ladder import ROOT


@dataclass(frozen=True)
class Times:
    """So many times the run file's own number."""

    factor: float


GRPO = {
    "max_steps": 30,
    "per_device_train_batch_size": 64,
    "num_generations": 8,
    "max_completion_length": 64,
    "learning_rate": 1e-5,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 3,
    "beta": 0.02,
}
REINFORCED = {"stages": ["sft", "grpo"], "mine": None, "dpo": None}
ARMS: dict[str, dict[str, Any]] = {
    "dpo": {},
    "no pair given": {"mine.given_share": 0.0},
    "even calls": {"mine.even_calls": True, "mine.given_share": 0.0},
    "grpo": {**REINFORCED, "grpo": GRPO},
    "all given": {"mine": None},
    "a quarter given": {"mine.given_share": 0.25},
    "half given": {"mine.given_share": 0.5},
    "three quarters given": {"mine.given_share": 0.75},
    "three times the rate": {"dpo.learning_rate": Times(3)},
    "a third of the rate": {"dpo.learning_rate": Times(1 / 3)},
    "all given, a third of the rate": {"mine": None, "dpo.learning_rate": Times(1 / 3)},
    "half given, a third of the rate": {"mine.given_share": 0.5, "dpo.learning_rate": Times(1 / 3)},
    "sigmoid alone": {"dpo.loss_type": ["sigmoid"], "dpo.loss_weights": [1.0]},
    "ipo alone": {"dpo.loss_type": ["ipo"], "dpo.loss_weights": [1.0]},
    "sigmoid_norm alone": {"dpo.loss_type": ["sigmoid_norm"], "dpo.loss_weights": [1.0]},
    "a quarter of the sft loss": {"dpo.loss_weights": [0.8, 0.2, 0.25]},
    "beta 0.3": {"dpo.beta": 0.3},
    "beta 0.03": {"dpo.beta": 0.03},
    "the guard's best check": {
        "guard.enabled": True,
        "guard.keep": "best",
        "guard.on_collapse": "best",
        "guard.time_share": 1.0,
    },
    "even calls, three times the rate": {
        "mine.even_calls": True,
        "mine.given_share": 0.0,
        "dpo.learning_rate": Times(3),
    },
    "grpo of the quickstart": {
        **REINFORCED,
        "grpo": tomllib.loads((ROOT / "examples" / "quickstart-grpo.toml").read_text(encoding="utf-8"))["grpo"],
    },
    "grpo, three times the rate": {**REINFORCED, "grpo": {**GRPO, "learning_rate": 3e-5}},
    "twice over the pairs": {"dpo.num_train_epochs": 2},
    "ten times the rate": {"dpo.learning_rate": Times(10)},
    "mostly imitation, thirty times the rate": {
        "dpo.loss_weights": [0.08, 0.02, 1.0],
        "dpo.learning_rate": Times(30),
    },
}
# No preferences at all: more SFT on the chosen answers of the run file's pairs, for as many steps of as many rows.
CONTROLS: dict[str, dict[str, Any]] = {
    "control": {},
    "control, half of the rate": {"sft.learning_rate": Times(1 / 2)},
    "control, a thirtieth of the rate": {"sft.learning_rate": Times(1 / 30)},
}


def plain(table: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Changes with numbers in the place of what multiplies those of a run file's table."""
    found = {}
    for path, value in changes.items():
        if isinstance(value, Times):
            *parts, last = path.split(".")
            place = table
            for part in parts:
                place = place[part]
            # Three times 1e-5 is 3e-5, whatever floating point makes of it.
            value = float(f"{place[last] * value.factor:.12g}")
        found[path] = value
    return found


def laid_over(table: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A run file's table with changes, whose keys are paths such as `dpo.beta`."""
    table = copy.deepcopy(table)
    for path, value in changes.items():
        *parts, last = path.split(".")
        place: Any = table
        for part in parts:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return table
