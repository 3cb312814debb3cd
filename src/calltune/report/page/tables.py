"""What the page tells of `data/doctor.json` and of each round's `statistics.json`, as rows of cells and sentences."""

from collections.abc import Mapping
from typing import Any


def doctor_tables(doctor: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Rows of cells for each table, from the file as `prepare` wrote it; None when there is none."""
    if doctor is None:
        return None
    behaviors = doctor["behaviors"]
    kinds = list(
        dict.fromkeys(kind for sources in behaviors.values() for counts in sources.values() for kind in counts)
    )
    return {
        "rows": [
            (source, counts["read"], counts["kept"], counts["repeated"], _listed(counts["rejected"]))
            for source, counts in doctor["rows"].items()
        ],
        "kinds": kinds,
        "behaviors": [
            (f"{source} ({stage})", [counts.get(kind, 0) for kind in kinds])
            for stage, sources in behaviors.items()
            for source, counts in sources.items()
        ],
        "findings": [
            (_words(name), "rejected" if found["rejected"] else "kept", len(found["rows"]), _example(found["rows"]))
            for name, found in doctor["findings"].items()
        ],
        "changes": [(_words(name), number) for name, number in doctor["changes"].items()],
        # A file of an older version holds none.
        "notes": doctor.get("notes", []),
    }


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{_words(name)} {number:,}" for name, number in counts.items())


def _example(rows: list[Mapping[str, Any]]) -> str:
    return f"{rows[0]['id']}: {rows[0]['reason']}" if rows else ""


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
