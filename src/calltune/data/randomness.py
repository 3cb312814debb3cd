"""Chance that depends on names alone, so that a row's fate is the same in any order and on any number of workers."""

import hashlib
import random


def unit_interval(*names: object) -> float:
    """Return a number in [0, 1) that these names alone decide."""
    return int(_digest(names)[:13], 16) / 16**13


def generator(*names: object) -> random.Random:
    """Return a generator of random numbers that these names alone seed."""
    return random.Random(_digest(names))


def _digest(names: tuple[object, ...]) -> str:
    return hashlib.sha256("\0".join(map(str, names)).encode("utf-8", "backslashreplace")).hexdigest()
