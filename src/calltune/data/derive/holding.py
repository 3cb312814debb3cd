"""Which conversations are held out of training: a share of each behaviour's, and never all of them."""

from collections import Counter
from collections.abc import Collection

from calltune.config.data import DeriveConfig
from calltune.data.randomness import unit_interval
from calltune.data.text import first_question
from calltune.types import BEHAVIORS, Behavior, Example, Preference


class Conversations:
    """The conversations of all rows, with the behaviours that their answers show.

    Rows with the same first message of the user are one conversation: they are its steps, or as good as.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._shown: dict[float, set[Behavior]] = {}

    def add(self, row: Example | Preference) -> float:
        """Count a row; return its conversation's number, which its first message and the seed alone decide."""
        number = unit_interval(self._seed, "held out", first_question(row.prompt, row.id))
        self._shown.setdefault(number, set()).add(row.behavior)
        return number

    def held_out(self, settings: DeriveConfig) -> Collection[float]:
        """Return the numbers of the conversations that are kept for questions.

        A conversation counts for the rarest behaviour in it. Of those that count for one, the share is held out,
        rounded, and one at least is left; so each behaviour is trained on if it comes at all.
        """
        share = settings.share_held_out(len(self._shown))
        frequency = Counter(behavior for shown in self._shown.values() for behavior in shown)
        alike: dict[Behavior, list[float]] = {behavior: [] for behavior in BEHAVIORS}
        for number, shown in sorted(self._shown.items()):
            alike[min(shown, key=lambda behavior: (frequency[behavior], behavior))].append(number)
        held: set[float] = set()
        for numbers in alike.values():
            held.update(numbers[: max(0, min(round(share * len(numbers)), len(numbers) - 1))])
        return held
