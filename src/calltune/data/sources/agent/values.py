"""Argument values by kind, of which no two splits share one: as a customer says them, and as an argument has them."""

import random
from typing import Any, Literal

Split = Literal["train", "development", "final"]

SPLITS: tuple[Split, ...] = ("train", "development", "final")

# Numbers and dates are dealt out by their remainder, so that each split has some of the whole range.
_SHARES: dict[Split, tuple[int, ...]] = {"train": (0, 1, 2, 3, 4, 5), "development": (6, 7), "final": (8, 9)}

_AREAS: dict[Split, str] = {
    "train": "LS BS NR EH CF OX NG SO EX LE CB PE",
    "development": "YO PL DH",
    "final": "SW CT HG",
}
_COUNTRIES: dict[Split, str] = {
    "train": "France,Spain,Italy,Portugal,Greece,Turkey,Norway,Japan,Canada,Morocco,Ireland,Poland",
    "development": "Croatia,Egypt,Iceland",
    "final": "Austria,Mexico,Malta",
}
_OPERATORS: dict[Split, str] = {
    "train": "Hillcall,Vero Mobile,Dala",
    "development": "Sixpence Mobile,Nordcell",
    "final": "Tidewater,Cloudline",
}
_MONTHS = ("March", "April", "May", "June", "July", "August")
_CHOICES: dict[str, dict[str, Any]] = {
    "plan": {name: name for name in ("Basic", "Plus", "Max")},
    "method": {"card": "card", "direct debit": "direct_debit"},
    "sim_type": {"a plastic card": "plastic", "an eSIM": "esim"},
    "part_of_day": {name: name for name in ("morning", "afternoon", "evening")},
    "enabled": {"on": True, "off": False},
}
"""Closed kinds are the same in all splits, as a schema lists them."""


def draw(rng: random.Random, kind: str, split: Split) -> tuple[str, Any]:
    """Return a value of a kind as it is said, and as it is written into a call."""
    if kind in _CHOICES:
        return rng.choice(list(_CHOICES[kind].items()))
    if kind in ("phone_number", "blocked_number"):
        number = f"07{700 if kind == 'phone_number' else 701}900{_dealt(rng, split, 0, 99):03d}"
        return number, number
    if kind == "invoice_number":
        number = f"BL-{_dealt(rng, split, 1000, 9999)}"
        return number, number
    if kind == "postcode":
        area = rng.choice(_AREAS[split].split())
        code = f"{area}{rng.randint(1, 19)} {rng.randint(1, 9)}{rng.choice('ABDEHJLN')}{rng.choice('PQRSTUWX')}"
        return code, code
    if kind in ("date", "start_date"):
        month, day = rng.randrange(len(_MONTHS)), _dealt(rng, split, 0, 2) or 3
        day = min(max(3, day), 28)
        return f"{day} {_MONTHS[month]}", f"2026-{month + 3:02d}-{day:02d}"
    if kind == "since":
        time = f"{rng.randint(6, 22):02d}:{_dealt(rng, split, 0, 5):02d}"
        return time, time
    if kind in ("gigabytes", "pounds"):
        amount = _dealt(rng, split, 0, 4) or 10
        return str(amount), amount
    names = {"country": _COUNTRIES, "operator": _OPERATORS}[kind][split].split(",")
    name = rng.choice(names)
    return name, name


def _dealt(rng: random.Random, split: Split, low: int, high: int) -> int:
    """Return a number whose last digit is the split's; what stands before it lies between the bounds."""
    return 10 * rng.randint(low, high) + rng.choice(_SHARES[split])
