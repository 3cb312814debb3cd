"""Near duplicates by MinHash (Broder 1997): the share of equal minima estimates how much two texts overlap."""

import random
import zlib
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from typing import Any

_PERMUTATIONS = 64
_ROWS_PER_BAND = 4
_SHINGLE = 3
_LEAST_EQUAL = 58
"""How many of the 64 minima must be equal: texts then have about nine tenths of their runs of three words in common."""
_MOST_PER_BUCKET = 8


def signature(words: Sequence[str]) -> bytes:
    """Return the minima of 64 hashes over all runs of three words, 32 bits each."""
    import numpy

    shingles = {" ".join(words[place : place + _SHINGLE]) for place in range(max(1, len(words) - _SHINGLE + 1))}
    hashes = numpy.array([zlib.crc32(shingle.encode("utf-8", "surrogatepass")) for shingle in shingles], numpy.uint64)
    factors, offsets = _parameters()
    return ((hashes[:, None] * factors + offsets) >> numpy.uint64(32)).astype(numpy.uint32).min(axis=0).tobytes()


@cache
def _parameters() -> tuple[Any, Any]:
    import numpy

    numbers = random.Random(0)
    # The factors are odd, so that multiplication modulo 2**64 loses nothing.
    factors = numpy.array([numbers.getrandbits(64) | 1 for _ in range(_PERMUTATIONS)], numpy.uint64)
    return factors, numpy.array([numbers.getrandbits(64) for _ in range(_PERMUTATIONS)], numpy.uint64)


class NearDuplicates:
    """Finds for each text an earlier one that is nearly the same."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[int, bytes], list[tuple[bytes, str]]] = defaultdict(list)

    def earlier(self, row_id: str, minima: bytes) -> str | None:
        """Return the id of an earlier text that is nearly the same as this one.

        If there is none, return None and remember this text for later ones.
        """
        import numpy

        width, ours, seen = 4 * _ROWS_PER_BAND, numpy.frombuffer(minima, numpy.uint32), set[bytes]()
        keys = [(place, minima[place : place + width]) for place in range(0, len(minima), width)]
        for key in keys:
            for other, other_id in self._buckets.get(key, ()):
                if other in seen:
                    continue
                seen.add(other)
                if int((numpy.frombuffer(other, numpy.uint32) == ours).sum()) >= _LEAST_EQUAL:
                    return other_id
        for key in keys:
            if len(self._buckets[key]) < _MOST_PER_BUCKET:
                self._buckets[key].append((minima, row_id))
        return None
