"""What the page tells of each round's `statistics.json`: which mistakes the model made, and what became of them."""

from collections.abc import Mapping
from typing import Any


def mining_tables(mining: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each round its folder, its kinds of mistake, the most frequent first, and sentences with the other counts.

    A mistake's row is its name, answers, their share of all answers, questions and mined pairs.
    """
    return [{"name": name, "mistakes": _mistakes(found), "notes": _notes(found)} for name, found in mining.items()]


def _mistakes(found: Mapping[str, Any]) -> list[tuple[str, int, float, int, int]]:
    wrong, total = found["num_wrong"], found["num_answers"]
    names = sorted((name for name in wrong if wrong[name]), key=lambda name: -wrong[name])
    questions, pairs = found["num_questions_with"], found["num_mined_by_error"]
    return [(_words(name), wrong[name], wrong[name] / total, questions[name], pairs[name]) for name in names]


def _notes(found: Mapping[str, Any]) -> list[str]:
    left_out = [f"{number:,} {reason}" for reason, number in found["num_not_paired"].items() if number]
    return [
        f"{found['num_questions']:,} questions, {found['num_answers']:,} answers: {found['num_right']:,} are right, "
        f"{found['num_undecided']:,} undecided.",
        f"{len(found['easy']):,} questions are always answered rightly, {len(found['never_right']):,} never.",
        f"{found['num_pairs']:,} pairs: {found['num_mined']:,} mined, the chosen answer the model's own in "
        f"{found['num_chosen_own']:,} of them, and {found['num_given']:,} given.",
        *([f"In no pair: {', '.join(left_out)}."] if left_out else []),
    ]


def _words(name: str) -> str:
    return name.replace("_", " ")
