"""How the answers of each behaviour begin: a small trie of tokens, learned from answers whose behaviour is known.

A call often shows in its first token, a refusal only some words in. So the trie grows where the answers that begin
alike are of different behaviours: of all its ends it lengthens the one at which most is undecided, until it has as many
tokens as one may compute for a question. What a model makes of the trie after a prompt are probabilities of its paths;
a path counts for each behaviour with the share that the known answers which begin so have.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import log

import numpy as np

from calltune.types import BEHAVIORS, Behavior

DEPTH = 8
"""Tokens of the longest path."""

MOST_TOKENS = 16
"""Tokens that are computed for a question beside its prompt. The last token of a path is predicted, and never read."""

MOST_PATHS = 256

Answer = tuple[Sequence[int], Behavior]
"""The tokens of an answer, and what it does."""

_Answers = list[tuple[tuple[int, ...], Behavior]]


@dataclass(frozen=True, slots=True)
class Beginning:
    """One path from the root, and how many of the known answers of each behaviour begin so."""

    tokens: tuple[int, ...]
    counts: Mapping[Behavior, int]

    @property
    def number(self) -> int:
        """How many answers begin so."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Beginnings:
    """The paths of a trie, none of which begins another one, the most frequent first.

    `num_answers` were learned from; `num_left_out` of them begin as none of the paths does.
    """

    paths: tuple[Beginning, ...]
    num_answers: int
    num_left_out: int

    @property
    def num_tokens(self) -> int:
        """How many tokens of the trie are computed for a question."""
        return len({path.tokens[:stop] for path in self.paths for stop in range(1, len(path.tokens))})

    def weigh(self, logprobs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities of the behaviours, from natural log-probabilities of the paths [questions, paths].

        Returns:
            In the order of `BEHAVIORS` [questions, 4], each row summing to 1, and what falls outside of all paths
            [questions]. Where all falls outside, the behaviours are as likely as among the known answers.
        """
        shares = np.array([[path.counts.get(name, 0) / path.number for name in BEHAVIORS] for path in self.paths])
        probabilities = np.exp(np.asarray(logprobs, dtype=np.float64))
        inside = probabilities.sum(axis=1)
        known = np.array([[path.counts.get(name, 0) for name in BEHAVIORS] for path in self.paths]).sum(axis=0)
        weighed = np.where(
            inside[:, None] > 0, probabilities @ shares / np.maximum(inside, 1e-300)[:, None], known / known.sum()
        )
        return weighed, np.clip(1 - inside, 0, 1)


def learn(
    answers: Iterable[Answer], depth: int = DEPTH, most_tokens: int = MOST_TOKENS, most_paths: int = MOST_PATHS
) -> Beginnings:
    """Learn how answers begin. The same answers in any order give the same paths.

    Args:
        answers: none of them empty.
        depth: tokens of the longest path.
        most_tokens: tokens of the trie that have to be computed, at most.
        most_paths: the least frequent of more paths are left out.

    Raises:
        ValueError: there are no answers, or one has no tokens.
    """
    known: _Answers = [(tuple(tokens), behavior) for tokens, behavior in answers]
    if not known or not all(tokens for tokens, _ in known):
        raise ValueError("beginnings are learned from answers, each of which has tokens")
    ends: list[Beginning] = []
    # The first that comes out is the end at which most is undecided.
    open_ends: list[tuple[float, tuple[int, ...], _Answers]] = [(0.0, (), known)]
    num_tokens = 0
    while open_ends:
        _, path, here = heappop(open_ends)
        if path and num_tokens == most_tokens:
            ends.append(_end(path, here))
            continue
        num_tokens += bool(path)
        longer: dict[int, _Answers] = {}
        for answer in here:
            longer.setdefault(answer[0][len(path)], []).append(answer)
        for token, some in longer.items():
            place, undecided = (*path, token), _undecided(some)
            if undecided and len(place) < depth and all(len(tokens) > len(place) for tokens, _ in some):
                heappush(open_ends, (-undecided, place, some))
            else:
                ends.append(_end(place, some))
    ends.sort(key=lambda end: (-end.number, end.tokens))
    kept = tuple(ends[:most_paths])
    return Beginnings(kept, len(known), sum(end.number for end in ends[most_paths:]))


def _end(path: tuple[int, ...], answers: Sequence[Answer]) -> Beginning:
    counts = Counter(behavior for _, behavior in answers)
    return Beginning(path, {name: counts[name] for name in BEHAVIORS if counts[name]})


def _undecided(answers: Sequence[Answer]) -> float:
    """How much is not known of these answers' behaviours, in nats over all of them; 0 where they do the same."""
    counts = Counter(behavior for _, behavior in answers)
    return sum(number * log(len(answers) / number) for number in sorted(counts.values()))
