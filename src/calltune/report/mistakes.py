"""Where calls differ from the one that was expected: another tool, another value, one too few or too many."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from calltune.report.results import Measured
from calltune.types import Completion, Sample, ToolCall

Kind = Literal["missed", "needless", "wrong tool", "wrong value", "missing", "extra"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MEANINGS: Mapping[str, str] = {
    "missed": "no call, though one is due",
    "needless": "a call, though none is due",
    "wrong tool": "a call of another tool",
    "wrong value": "an argument has another value",
    "missing": "an argument is left out",
    "extra": "an argument or a call too many",
}


@dataclass(frozen=True, slots=True)
class Mistake:
    """One difference; `argument` is empty where the call itself differs, and then both sides are names of tools."""

    argument: str
    kind: Kind
    expected: Any
    given: Any


@dataclass(frozen=True, slots=True)
class CallMistakes:
    """How many answers of a checkpoint hold a mistake of each kind; one answer may hold several kinds.

    Needless calls are among the `num_undue` questions where no call is due, all others among the `num_due`.
    """

    num_due: int
    num_undue: int
    counts: Mapping[str, int]

    def num_possible(self, kind: str) -> int:
        """How many answers could hold a mistake of this kind."""
        return self.num_undue if kind == "needless" else self.num_due


def expected_call(sample: Sample) -> ToolCall | None:
    """The one call that is right; None where none is due, or where a benchmark accepts several."""
    target = sample.target if isinstance(sample.target, Mapping) else {}
    call = target.get("call")
    if sample.behavior != "tool_call" or not isinstance(call, Mapping):
        return None
    name, arguments = call.get("name"), call.get("arguments")
    return ToolCall(name, arguments) if isinstance(name, str) and isinstance(arguments, Mapping) else None


def mistakes(sample: Sample, completion: Completion) -> tuple[Mistake, ...] | None:
    """Every difference between the calls that were made and the one that was due.

    None where that cannot be told: the answer is a choice or no whole answer, or no single call is known to be right.
    """
    if sample.choices or sample.behavior is None or completion.status != "ok" or completion.message is None:
        return None
    calls, expected = completion.message.tool_calls, expected_call(sample)
    if sample.behavior != "tool_call":
        return tuple(Mistake("", "needless", None, call.name) for call in calls)
    if expected is None:
        return None
    if not calls:
        return (Mistake("", "missed", expected.name, None),)
    made = next((call for call in calls if call.name == expected.name), calls[0])
    found = [Mistake("", "extra", None, call.name) for call in calls if call is not made]
    if made.name != expected.name:
        return (Mistake("", "wrong tool", expected.name, made.name), *found)
    return (*_arguments(expected.arguments, made.arguments), *found)


def _arguments(expected: Mapping[str, Any], given: Mapping[str, Any]) -> list[Mistake]:
    found = []
    for name in dict.fromkeys([*expected, *given]):
        if name not in given:
            found.append(Mistake(name, "missing", expected[name], None))
        elif name not in expected:
            found.append(Mistake(name, "extra", None, given[name]))
        elif expected[name] != given[name]:
            found.append(Mistake(name, "wrong value", expected[name], given[name]))
    return found


def count_mistakes(benchmark: Measured) -> dict[str, CallMistakes]:
    """By checkpoint the answers with each kind of mistake; empty where no question has a single right call."""
    samples = benchmark.samples or ()
    if not any(expected_call(sample) and not sample.choices for sample in samples):
        return {}
    found = {}
    for name in benchmark.paired():
        answers, counts = benchmark.answers[name], Counter[str]()
        num_due = num_undue = 0
        for sample, completion, score in zip(samples, answers.completions, answers.scores, strict=True):
            if score.value is not None and sample.behavior is not None:
                num_due += expected_call(sample) is not None
                num_undue += sample.behavior != "tool_call"
                counts.update({mistake.kind for mistake in mistakes(sample, completion) or ()})
        found[name] = CallMistakes(num_due, num_undue, {kind: counts[kind] for kind in KINDS})
    return found
