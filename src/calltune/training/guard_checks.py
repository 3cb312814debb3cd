"""What a check of a model in training found, and whether it fell since the stage's start.

A class of questions falls when two figures do: its recall, and its recall less the share of other questions that are
given the same answer. A model that answers everything alike has a recall of 1 there and no skill, and learning to tell
questions apart is no fall. All classes together fall with behaviour accuracy.

The questions are the same in every check, so chance is judged by those whose answers changed: as many would have become
right as wrong, were nothing but chance at work.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import comb
from typing import Any, Literal

from calltune.calling.behavior import message_behavior
from calltune.calling.calls import same_calls
from calltune.calling.chat import Chat
from calltune.training.guard_questions import GuardQuestion
from calltune.types import BEHAVIORS, Behavior, Completion

Shown = Behavior | Literal["malformed"]

_CHANCE = 0.02
"""How likely a fall may be, were it chance alone; six of six answers that turned wrong are less likely than that."""

_WORDS: Mapping[str, str] = {
    "tool_call": "call",
    "request_for_info": "ask back",
    "cannot_answer": "refuse",
    "direct": "answer",
}


@dataclass(frozen=True, slots=True)
class Check:
    """What the model did after an optimiser step with each of the first questions.

    `are_exact` tells which calls were the known ones, `are_endless` which answers did not end in room enough for the
    known one.
    """

    step: int
    shown: tuple[Shown, ...]
    are_exact: tuple[bool, ...]
    are_endless: tuple[bool, ...]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """For a checkpoint."""
        return asdict(self)


def check_from(state: Mapping[str, Any]) -> Check:
    """A check from what `as_json` gave."""
    flags = (tuple(state[name]) for name in ("shown", "are_exact", "are_endless"))
    return Check(state["step"], *flags, state["seconds"])


def shown(chat: Chat, question: GuardQuestion, completion: Completion) -> tuple[Shown, bool]:
    """What an answer does, and whether it makes exactly the known calls.

    A text that was cut off is read as far as it goes. A call that was cut off is malformed, as is an answer that came
    of no numbers.
    """
    message = completion.message
    if completion.status == "truncated" and not chat.is_in_thought(completion.text):
        message = chat.parse(completion.text, question.sample.tools).message
    if message is None:
        return "malformed", False
    is_exact = bool(question.gold.tool_calls) and same_calls(question.gold.tool_calls, message.tool_calls)
    return message_behavior(message), is_exact


def measures(questions: Sequence[GuardQuestion], check: Check) -> dict[str, float]:
    """Shares of the questions that were asked; a class that none of them is of has none."""
    asked = list(zip(questions, check.shown, check.are_exact, strict=False))
    due = [(found, exact) for question, found, exact in asked if question.behavior == "tool_call"]
    not_due = [found for question, found, _ in asked if question.behavior != "tool_call"]
    found: dict[str, float] = {
        "behavior_accuracy": _share(question.behavior == does for question, does, _ in asked),
        "malformed_rate": _share(does == "malformed" for does in check.shown),
        "endless_rate": _share(check.are_endless),
    }
    if due:
        found["exact_call_rate"] = _share(exact for _, exact in due)
        found["missed_call_rate"] = _share(does not in ("tool_call", "malformed") for does, _ in due)
    if not_due:
        found["needless_call_rate"] = _share(does == "tool_call" for does in not_due)
    for behavior in BEHAVIORS:
        if own := [does == behavior for question, does, _ in asked if question.behavior == behavior]:
            found[f"recall_{behavior}"] = _share(own)
    return found


def told(found: Mapping[str, float]) -> str:
    """The measures of a check in a few words."""
    recalls = [
        f"{words} {found[f'recall_{behavior}']:.2f}"
        for behavior, words in _WORDS.items()
        if f"recall_{behavior}" in found
    ]
    names = {"exact_call_rate": "exact", "needless_call_rate": "needless", "missed_call_rate": "missed"}
    calls = [f"{words} {found[name]:.2f}" for name, words in names.items() if name in found]
    return (
        f"right {found['behavior_accuracy']:.2f} ({', '.join(recalls)}), calls {', '.join(calls)}, "
        f"malformed {found['malformed_rate']:.2f}, endless {found['endless_rate']:.2f}"
    )


def rank(questions: Sequence[GuardQuestion], check: Check) -> tuple[float, float, int]:
    """By which the best check is found: behaviour accuracy, then exact calls, then the later step."""
    found = measures(questions, check)
    return found["behavior_accuracy"], found.get("exact_call_rate", 0.0), check.step


def collapse(questions: Sequence[GuardQuestion], start: Check, now: Check, most_drop: float) -> str:
    """What fell since the stage's start, by more than `most_drop` and more than chance; else an empty text."""
    count = min(len(start.shown), len(now.shown))
    due = [question.behavior for question in questions[:count]]
    before, after = start.shown[:count], now.shown[:count]
    right = [[does == behavior for does, behavior in zip(shown, due, strict=True)] for shown in (before, after)]
    rules = [_Rule("behaviour accuracy", right[0], right[1])]
    for behavior in BEHAVIORS:
        own, others = ([n for n in range(count) if (due[n] == behavior) is wanted] for wanted in (True, False))
        flags = [[shown[n] == behavior for n in own] for shown in (before, after)]
        habits = [_share(shown[n] == behavior for n in others) for shown in (before, after)]
        more = habits[1] - habits[0]
        rules.append(_Rule(f"the recall of {behavior}", flags[0], flags[1], more_needless=more, is_class=True))
    well_formed = [[does != "malformed" for does in shown] for shown in (before, after)]
    if _share(right[1]) <= _share(right[0]):
        # A model that learns to call writes some of its first calls malformed, and is better than it was.
        rules.append(_Rule("the rate of malformed answers", well_formed[0], well_formed[1], is_bad_rate=True))
    ended = [[not endless for endless in each.are_endless[:count]] for each in (start, now)]
    rules.append(_Rule("the rate of endless answers", ended[0], ended[1], is_bad_rate=True))
    return ", and ".join(rule.told for rule in rules if rule.is_broken(most_drop))


@dataclass(frozen=True, slots=True)
class _Rule:
    """What was right of the same questions before and after; `more_needless` is how much oftener others got it now."""

    name: str
    old: Sequence[bool]
    new: Sequence[bool]
    more_needless: float = 0.0
    is_bad_rate: bool = False
    is_class: bool = False

    def is_broken(self, most_drop: float) -> bool:
        fall = _share(self.old) - _share(self.new)
        is_sure = _is_beyond_chance(self.old, self.new) or (self.is_class and self._is_lost_whole)
        return min(fall, fall + self.more_needless) > most_drop and is_sure

    @property
    def _is_lost_whole(self) -> bool:
        """Whether all were right and none is now, where one and the same recall would hardly give both.

        Nothing could have turned right there, so a sign test asks too much of a class of few questions. A recall gives
        all of n and then none of n with a probability of at most 4 ** -n: three questions are enough.
        """
        return all(self.old) and not any(self.new) and 4 ** -len(self.old) <= _CHANCE

    @property
    def told(self) -> str:
        rates = [abs(self.is_bad_rate - _share(flags)) for flags in (self.old, self.new)]
        verb = "rose" if self.is_bad_rate else "fell"
        return f"{self.name} {verb} from {rates[0]:.2f} to {rates[1]:.2f} ({len(self.old)} questions)"


def _is_beyond_chance(old: Sequence[bool], new: Sequence[bool]) -> bool:
    """Whether so many turned wrong, and so few right, that chance alone would hardly do it (an exact sign test)."""
    lost = sum(was and not now for was, now in zip(old, new, strict=True))
    changed = lost + sum(now and not was for was, now in zip(old, new, strict=True))
    return sum(comb(changed, number) for number in range(lost, changed + 1)) <= _CHANCE * 2**changed


def _share(flags: Any) -> float:
    flags = list(flags)
    return sum(flags) / len(flags) if flags else 0.0
