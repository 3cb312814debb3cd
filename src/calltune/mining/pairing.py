"""Verified answers -> preference pairs: a right answer over one of the model's own mistakes, each kind as often."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from calltune.calling.layout import message_dicts
from calltune.data.near import NearDuplicates, signature
from calltune.data.text import asked, words
from calltune.mining.questions import Question
from calltune.mining.verifying import MinedError, Verdict
from calltune.types import Completion, Message, Preference

Judged = tuple[Completion, Verdict]
Writes = Callable[[Question, Completion], Message | None]
"""The message that a model would write as this very answer, or None where there is none."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pair that could be made: `rejected` is the model's own mistake, `is_own`: `chosen` is its own, too."""

    question: Question
    chosen: Message
    rejected: Message
    error: MinedError
    reason: str
    is_own: bool

    @property
    def cell(self) -> str:
        """The right behaviour and the kind of mistake; each cell has the same quota."""
        return f"{self.question.behavior}: {self.error}"


def candidates(
    question: Question, judged: Sequence[Judged], chosen: Literal["own", "gold"], writes: Writes, dropped: Counter[str]
) -> list[Candidate]:
    """One pair for each kind of mistake that the model made here: its most frequent one of the kind.

    A mistake that was cut off is in no pair: it would have to be taught with an end that the model never wrote.

    Args:
        dropped: counts the mistakes that are in no pair, by why.
    """
    right = [completion for completion, verdict in judged if verdict.outcome == "right"]
    best = _best(question, right) if chosen == "own" else None
    found = []
    by_error: dict[MinedError, list[Judged]] = defaultdict(list)
    for completion, verdict in judged:
        if verdict.error is not None:
            by_error[verdict.error].append((completion, verdict))
    for error, mistakes in by_error.items():
        if error == "truncated":
            dropped["cut off"] += 1
            continue
        times = Counter(completion.text for completion, _ in mistakes)
        completion, verdict = max(mistakes, key=lambda one: times[one[0].text])
        rejected = writes(question, completion)
        if rejected is None:
            dropped["cannot be written by the template"] += 1
            continue
        found.append(
            Candidate(question, best or question.gold, rejected, error, verdict.reason, is_own=best is not None)
        )
    return found


def _best(question: Question, right: Sequence[Completion]) -> Message | None:
    """Of the model's right answers the one nearest to the known one, and of those the most frequent.

    A direct answer's behaviour is verified, not what it says, so none is taken.
    """
    if not right or question.behavior == "direct":
        return None
    times = Counter(completion.text for completion in right)
    best = min(right, key=lambda one: (_distance(question.gold, one.message), -times[one.text]))
    return best.message


def _distance(gold: Message, message: Message | None) -> float:
    """0 for the same calls and words, 1 for nothing in common."""
    assert message is not None, "a right answer was read"
    if gold.tool_calls:
        return float(gold.tool_calls != message.tool_calls) + float(gold.content != message.content)
    return 1 - SequenceMatcher(None, words(gold.content), words(message.content), autojunk=False).ratio()


def drop_near_duplicates(found: Sequence[Candidate], dropped: Counter[str]) -> list[Candidate]:
    """Those that differ from all before them in more than a tenth of question and answers."""
    known, kept = NearDuplicates(), []
    for number, one in enumerate(found):
        answers = json.dumps(message_dicts((one.chosen, one.rejected)), allow_nan=False)
        minima = signature(words(f"{asked(one.question.sample.messages)} {answers}"))
        if known.earlier(str(number), minima) is None:
            kept.append(one)
        else:
            dropped["nearly the same as another"] += 1
    return kept


def balanced(found: Sequence[Candidate], number: int, even_calls: bool = False) -> list[Candidate]:
    """So many pairs at most, from each cell in turn, so that a rare mistake comes as often as a frequent one.

    Args:
        even_calls: take as many pairs in which a call wins over a text as pairs in which one loses to it, a third of
            all at most; the others compare two calls or two texts.
    """
    if even_calls:
        won, lost = ([one for one in found if one.error == error] for error in ("missed_call", "needless_call"))
        others = [one for one in found if one.error not in ("missed_call", "needless_call")]
        each = min(len(won), len(lost), number // 3)
        return [*balanced(won, each), *balanced(lost, each), *balanced(others, number - 2 * each)]
    cells: dict[str, list[Candidate]] = defaultdict(list)
    for one in found:
        cells[one.cell].append(one)
    taken: list[Candidate] = []
    while cells and len(taken) < number:
        for cell in sorted(cells)[: number - len(taken)]:
            taken.append(cells[cell].pop(0))
            if not cells[cell]:
                del cells[cell]
    return taken


def preference(one: Candidate, number: int) -> Preference:
    """The pair in the layout that `dpo` reads, with the mistake as its `rule`."""
    question = one.question
    return Preference(
        id=f"mined-{number}",
        source="mined",
        prompt=question.sample.messages,
        tools=question.sample.tools,
        chosen=one.chosen,
        rejected=one.rejected,
        behavior=question.behavior,
        parent=question.id,
        rule=one.error,
    )
