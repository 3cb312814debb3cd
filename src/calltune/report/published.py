"""What others published for the models of the seed recipe, to stand beside one's own figures."""

from collections.abc import Mapping
from dataclasses import dataclass

SOURCE = "AWS Machine Learning Blog, 2026-06-03: Spectrum SFT, then DPO; When2Call acc_norm over all 3,652 questions"
NUM_QUESTIONS = 3652

_ACC_NORM: Mapping[str, tuple[float, float, float]] = {
    "meta-llama/Llama-3.2-3B-Instruct": (0.4650, 0.5341, 0.6267),
    "Qwen/Qwen3-0.6B": (0.4764, 0.5610, 0.6202),
    "Qwen/Qwen3-1.7B": (0.4157, 0.6043, 0.7106),
}


@dataclass(frozen=True, slots=True)
class Published:
    """Others' figures of a metric by checkpoint, and over how many questions."""

    metric: str
    source: str
    num_questions: int
    values: Mapping[str, float]


def published_rows(model: str) -> Published | None:
    """The published `acc_norm` of base, SFT and DPO for a model's Hub id; None when nothing was published."""
    if model not in _ACC_NORM:
        return None
    figures: dict[str, float] = dict(zip(("base", "sft", "dpo"), _ACC_NORM[model], strict=True))
    return Published("acc_norm", SOURCE, NUM_QUESTIONS, figures)
