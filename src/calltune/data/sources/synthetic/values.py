"""Argument values by kind, in pools that no two splits share.

Open-ended kinds (dates, times, counts, codes) are dealt out by a remainder, so that each split owns its share of the
whole range; closed kinds (cities, people, titles, choices) are written out.
"""

import random
from typing import Literal

Split = Literal["train", "development", "final"]

SPLITS: tuple[Split, ...] = ("train", "development", "final")

Value = str | int

MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
          "November", "December")  # fmt: skip


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


CITIES: dict[Split, tuple[str, ...]] = {
    "train": _words(
        "Lisbon Oslo Porto Vienna Dublin Prague Geneva Madrid Athens Berlin Munich Seville Zurich Bergen Ghent Turin "
        "Naples Hamburg Krakow Leeds Bristol Boston Denver Chicago Austin Seattle Toronto Lima Quito Cairo Nairobi "
        "Delhi Mumbai Osaka Kyoto Perth"
    ),
    "development": _words("Tallinn Bologna Salzburg Malmo Cardiff Portland Havana Tunis Jaipur Sapporo"),
    "final": _words("Vilnius Verona Basel Aarhus Norwich Memphis Bogota Rabat Chennai Nagoya"),
}

FIRST_NAMES: dict[Split, tuple[str, ...]] = {
    "train": _words(
        "Anna Peter Maria Lucas Emma Oscar Julia Simon Clara Martin Laura David Sofia Victor Nina Robert Alice Daniel "
        "Eva Thomas Helen Marco Irene Paul Rosa Samuel Vera Walter"
    ),
    "development": _words("Ingrid Felix Carmen Hugo Miriam Stefan Olivia Bruno"),
    "final": _words("Astrid Gabriel Ramona Jonas Beatrice Leon Monica Conrad"),
}

LAST_NAMES: dict[Split, tuple[str, ...]] = {
    "train": _words(
        "Keller Brown Rossi Novak Silva Larsen Weber Dubois Murphy Santos Berg Fischer Clark Moreau Hansen Costa "
        "Walsh Meyer Lopez Turner Bauer Nilsen Adams Romano"
    ),
    "development": _words("Petrov Lindgren Ferrari Marsh Okafor Tanaka Vogel Reyes"),
    "final": _words("Ivanov Holm Greco Hale Mensah Sato Richter Vargas"),
}

TITLE_HEADS: dict[Split, tuple[str, ...]] = {
    "train": _words(
        "Summer Budget Garden Winter Project Market Family Harbour Team Spring Coffee Mountain Sales Design"
    ),
    "development": _words("Autumn Museum Launch River Supplier Orchard"),
    "final": _words("Easter Gallery Kickoff Desert Customer Meadow"),
}

TITLE_TAILS: dict[Split, tuple[str, ...]] = {
    "train": _words("Plan Notes Review List Story Update Trip Party Talk Draft Guide Song"),
    "development": _words("Outline Journey Summary Concert"),
    "final": _words("Sketch Voyage Digest Dinner"),
}

CHOICES: dict[str, dict[Split, tuple[tuple[str, ...], ...]]] = {
    "size": {
        "train": (("small", "medium", "large"), ("half", "full"), ("single", "double")),
        "development": (("mini", "regular", "jumbo"), ("narrow", "wide")),
        "final": (("compact", "standard", "extended"), ("short", "tall")),
    },
    "colour": {
        "train": (("red", "blue", "green"), ("black", "white"), ("grey", "yellow", "brown")),
        "development": (("orange", "purple"), ("pink", "silver", "beige")),
        "final": (("violet", "golden"), ("ivory", "maroon", "cyan")),
    },
    "priority": {
        "train": (("low", "normal", "high"), ("urgent", "routine")),
        "development": (("minor", "major"),),
        "final": (("lowest", "highest"),),
    },
}

# Counts and amounts of a split have their own remainder modulo 8: half of the range is for training.
REMAINDERS: dict[Split, tuple[int, ...]] = {"train": (0, 1, 3, 4, 6), "development": (2, 5), "final": (7,)}


def _owned(rng: random.Random, split: Split, low: int, high: int) -> int:
    return rng.choice([number for number in range(low, high) if number % 8 in REMAINDERS[split]])


def draw(rng: random.Random, kind: str, split: Split, options: tuple[str, ...] = ()) -> Value:
    """Return a value of the kind from the split's own pool.

    `options` are the allowed values of a choice parameter.
    """
    match kind:
        case "size" | "colour" | "priority":
            return rng.choice(options)
        case "date":
            day = _owned(rng, split, 1, 29)
            return f"{day} {rng.choice(MONTHS)}"
        case "time":
            return f"{rng.randint(7, 21)}:{_owned(rng, split, 1, 60):02d}"
        case "city" | "origin":
            return rng.choice(CITIES[split])
        case "person":
            return f"{rng.choice(FIRST_NAMES[split])} {rng.choice(LAST_NAMES[split])}"
        case "title":
            return f"{rng.choice(TITLE_HEADS[split])} {rng.choice(TITLE_TAILS[split])}"
        case "code":
            letters = "".join(rng.choice("ABCDEFGHJKLMNPRSTUVWXYZ") for _ in range(2))
            return f"{letters}-{_owned(rng, split, 100, 1000)}"
        case "nights" | "guests" | "copies":
            return _owned(rng, split, 2, 32)
        case "minutes":
            return _owned(rng, split, 5, 96)
        case "amount":
            return _owned(rng, split, 20, 1000)
        case _:
            raise ValueError(f"no such kind of value: {kind}")
