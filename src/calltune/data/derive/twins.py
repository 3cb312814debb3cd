"""Which tools could do the same: where one is taken away to be missed, its twins must go with it.

Two tools that do different things by their first verb (`find` and `book`; `search`, `get` and `find` are one) are no
twins. For others the measure is the Dice coefficient of the words of name and description, without verb and stop words,
averaged three to one with that of the parameters' names. It reads no rows, so it is the same in every data set.

The default threshold, 0.4, was read off the 11,939 pairs that are offered together in real training data. From there
upward stand other versions of one service ("Find movies by genre" and "Search for movies by genre"), below it stand
tools that share no more than a word. A pair that is joined by mistake costs an easier row, while a twin that is left
behind costs a wrong label.
"""

from collections.abc import Iterable
from functools import lru_cache

from calltune.calling.arguments import argument_schemas
from calltune.data.derive.vocabulary import CANONICAL, STOP_WORDS, imperative, stem, tokens
from calltune.types import Tool

_WEIGHT_OF_WORDS = 0.75


def similarity(one: Tool, other: Tool) -> float:
    """Return how alike two tools are, from 0 to 1; it is 1 for tools of the same words and parameters."""
    (verb, words), (other_verb, other_words) = _gist(one.name, one.description), _gist(other.name, other.description)
    if verb and other_verb and verb != other_verb:
        return 0.0
    alike = _dice(words, other_words)
    parameters, other_parameters = _parameters(one), _parameters(other)
    if not parameters or not other_parameters:
        return alike
    return _WEIGHT_OF_WORDS * alike + (1 - _WEIGHT_OF_WORDS) * _dice(parameters, other_parameters)


def twins(target: Tool, tools: Iterable[Tool], threshold: float) -> list[Tool]:
    """Return those of the tools that could do what `target` does; the target itself is none of them."""
    return [tool for tool in tools if tool.name != target.name and similarity(target, tool) >= threshold]


def _dice(one: frozenset[str], other: frozenset[str]) -> float:
    return 2 * len(one & other) / (len(one) + len(other)) if one or other else 0.0


@lru_cache(maxsize=65_536)
def _gist(name: str, description: str) -> tuple[str, frozenset[str]]:
    """Return what the tool does, as the canonical verb of its description or name, and the stems of its other words.

    The verb is empty if it is unknown.
    """
    stems, verb = set(), ""
    for text in (description, name):
        for place, word in enumerate(tokens(text)):
            known = imperative(word)
            if known and place == 0 and not verb:
                verb = CANONICAL.get(known, known)
            # A verb that does not come first is as often a thing: "the show", "an order".
            if word not in STOP_WORDS and len(word) > 1 and not word.isdigit() and not (known and place == 0):
                stems.add(stem(word))
    return verb, frozenset(stems)


def _parameters(tool: Tool) -> frozenset[str]:
    return frozenset(stem(word) for name in argument_schemas(tool.parameters) for word in tokens(name))
