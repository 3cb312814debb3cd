"""What mining found, counted: for `statistics.json`, and for the terminal."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from calltune.data.text import asked
from calltune.mining.pairing import Candidate, Judged
from calltune.mining.questions import Question
from calltune.mining.verifying import ERRORS
from calltune.runtime.terminal import say, show_table
from calltune.types import BEHAVIORS, Message

_LONGEST_SHOWN = 300


def statistics(
    questions: Sequence[Question], judged: Sequence[Sequence[Judged]], pairs: Sequence[Candidate]
) -> dict[str, Any]:
    """Answers right, wrong by kind of mistake and by the right behaviour, and questions easy or never right.

    An easy question's answers are all right, so it has no mistake to learn from; one that is never right is listed,
    too, as its data may be wrong.
    """
    by_behavior = {behavior: Counter[str]() for behavior in BEHAVIORS}
    with_error, easy, never = Counter[str](), list[str](), list[str]()
    for question, answers in zip(questions, judged, strict=True):
        names = [verdict.error or verdict.outcome for _, verdict in answers]
        by_behavior[question.behavior].update(names)
        with_error.update({name for name in names if name in ERRORS})
        if all(name == "right" for name in names):
            easy.append(question.id)
        if "right" not in names and "undecided" not in names:
            never.append(question.id)
    total = sum(by_behavior.values(), Counter[str]())
    return {
        "num_questions": len(questions),
        "num_answers": total.total(),
        "num_right": total["right"],
        "num_undecided": total["undecided"],
        "num_wrong": {error: total[error] for error in ERRORS},
        "num_questions_with": {error: with_error[error] for error in ERRORS},
        "by_behavior": {behavior: dict(counts) for behavior, counts in by_behavior.items()},
        "num_mined": len(pairs),
        "num_mined_by_error": {error: sum(pair.error == error for pair in pairs) for error in ERRORS},
        "num_mined_by_cell": dict(sorted(Counter(pair.cell for pair in pairs).items())),
        "num_chosen_own": sum(pair.is_own for pair in pairs),
        "easy": easy,
        "never_right": never,
    }


def show_statistics(found: Mapping[str, Any]) -> None:
    """One table: each kind of mistake with its share of all answers, the questions that have it, and its pairs."""
    total = found["num_answers"]
    rows = [("right", found["num_right"], "", ""), ("undecided", found["num_undecided"], "", "")]
    for error in ERRORS:
        if number := found["num_wrong"][error]:
            rows.append((error, number, found["num_questions_with"][error], found["num_mined_by_error"][error]))
    show_table(
        "the model's own answers to its training questions",
        ("", "answers", "share", "questions", "mined pairs"),
        [
            (name, f"{number:,}", f"{number / total:.1%}", f"{questions:,}" if questions else "", str(pairs))
            for name, number, questions, pairs in sorted(rows, key=lambda row: -row[1])
        ],
    )
    say(
        f"mine: {len(found['easy']):,} of {found['num_questions']:,} questions are always answered rightly, "
        f"{len(found['never_right']):,} never"
    )
    if found["num_mined"]:
        say(
            f"mine: the chosen answer is the model's own in {found['num_chosen_own']:,} of {found['num_mined']:,} pairs"
        )


def show_examples(pairs: Sequence[Candidate], number: int) -> None:
    """A few pairs as a person would read them, each of another kind of mistake."""
    shown: dict[str, Candidate] = {}
    for pair in pairs:
        shown.setdefault(pair.error, pair)
    for pair in list(shown.values())[:number]:
        say(f"--- {pair.error}: {pair.reason}")
        say(f"    asked:    {_cut(asked(pair.question.sample.messages))}")
        say(f"    chosen:   {_words(pair.chosen)}" + ("" if pair.is_own else " (the known answer)"))
        say(f"    rejected: {_words(pair.rejected)}")


def _words(message: Message) -> str:
    calls = [
        f"{call.name}({json.dumps(dict(call.arguments), ensure_ascii=False, allow_nan=False)})"
        for call in message.tool_calls
    ]
    return _cut(" ".join([message.content, *calls]))


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."
