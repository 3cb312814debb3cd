"""The beginnings that prompts share, with what the model made of them, kept from batch to batch and call to call."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from calltune.models.backends.segments import Segment, one_after_another
from calltune.models.trie import num_shared

_MOST = 8
_FEW = 32  # tokens for which another forward pass is not worth its while

Compute = Callable[[Sequence[int], list[Segment]], Segment]
"""What the model makes of tokens, of one row, that come after some segments."""


class PromptCache:
    """The beginnings that were asked for last, with at most so many tokens in all."""

    def __init__(self, num_tokens: int, compute: Compute) -> None:
        self._num_tokens, self._compute = num_tokens, compute
        self._kept: OrderedDict[tuple[int, ...], Segment] = OrderedDict()

    def __len__(self) -> int:
        """How many beginnings there are."""
        return len(self._kept)

    def get(self, tokens: Sequence[int], num_rows: int) -> Segment | None:
        """The beginning of rows that have these tokens in common, or of most of them; None where it saves nothing.

        What is kept already is taken, and only what is missing is computed.
        """
        wanted = list(tokens)
        longest = max(self._kept, key=lambda each: num_shared(list(each), wanted), default=())
        count = num_shared(list(longest), wanted)
        past = None
        if count:
            self._kept.move_to_end(longest)
            past = self._kept[longest].first(count)
        missing = wanted[count:]
        if len(missing) < _FEW or num_rows == 1:
            return past
        found = self._compute(missing, [past] if past else [])
        whole = one_after_another([past, found] if past else [found])
        if count == len(longest):
            # It goes on from there.
            self._kept.pop(longest, None)
        self._kept[tuple(wanted)] = whole
        while len(self._kept) > 1 and (len(self._kept) > _MOST or sum(map(len, self._kept)) > self._num_tokens):
            self._kept.popitem(last=False)
        return whole
