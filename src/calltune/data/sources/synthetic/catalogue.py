"""The tools of an office, travel and home assistant: every tool is a verb on a thing, with typed parameters.

The things are dealt out to the splits, so no two splits share a tool; verbs and parameter names recur everywhere,
as they do in real catalogues.
"""

import random
from dataclasses import dataclass
from functools import cache

from calltune.data.sources.synthetic.values import CHOICES, SPLITS, Split
from calltune.types import Tool


@dataclass(frozen=True, slots=True)
class Domain:
    """Verbs with their past participles, the kinds of parameter its tools may ask for, and its things by split."""

    verbs: dict[str, str]
    kinds: tuple[str, ...]
    things: dict[Split, str]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter; `kind` says which values fit, `options` is not empty for a choice."""

    name: str
    kind: str
    required: bool
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ability:
    """What one tool does, in the parts that requests and replies are worded from."""

    verb: str
    participle: str
    thing: str
    parameters: tuple[Parameter, ...]
    tool: Tool


DOMAINS: dict[str, Domain] = {
    "travel": Domain(
        {"book": "booked", "cancel": "cancelled", "find": "found", "change": "changed", "reserve": "reserved"},
        ("date", "time", "city", "origin", "nights", "guests", "person", "code"),
        {
            "train": "flight|hotel|train ticket|ferry|taxi|museum tour|rental car|cruise|hostel|bus seat|cabin"
            "|campsite",
            "development": "tram pass|villa|shuttle|safari|bicycle",
            "final": "sleeper berth|chalet|limousine|excursion|kayak",
        },
    ),
    "office": Domain(
        {"schedule": "scheduled", "cancel": "cancelled", "move": "moved", "plan": "planned", "confirm": "confirmed"},
        ("date", "time", "person", "minutes", "title", "city", "priority"),
        {
            "train": "meeting|interview|workshop|phone call|lunch|review|training day|conference|visit|deadline|exam",
            "development": "webinar|inspection|retreat|audit|lecture",
            "final": "seminar|hearing|banquet|appraisal|briefing",
        },
    ),
    "home": Domain(
        {"start": "started", "stop": "stopped", "set": "set", "check": "checked", "repair": "repaired"},
        ("time", "minutes", "date", "code", "size", "priority"),
        {
            "train": "heating|oven|alarm|washing machine|lamp|door lock|vacuum|fan|garden pump|fridge|camera|radio",
            "development": "dishwasher|thermostat|sprinkler|kettle|garage gate",
            "final": "humidifier|fireplace|doorbell|freezer|roof window",
        },
    ),
    "shopping": Domain(
        {"order": "ordered", "buy": "bought", "return": "returned", "track": "tracked", "compare": "compared"},
        ("copies", "colour", "size", "amount", "city", "code", "date"),
        {
            "train": "jacket|laptop|book|pair of shoes|sofa|phone|table|birthday cake|mirror|carpet|pizza|backpack",
            "development": "blanket|printer|guitar|raincoat|bouquet",
            "final": "pillow|scanner|violin|sweater|hamper",
        },
    ),
    "money": Domain(
        {"send": "sent", "pay": "paid", "request": "requested", "approve": "approved", "refund": "refunded"},
        ("amount", "person", "date", "code", "title"),
        {
            "train": "invoice|rent|payment|salary|deposit|tax bill|donation|loan|expense claim|bonus|premium",
            "development": "pension|subsidy|voucher|grant|parking fine",
            "final": "dividend|allowance|toll|mortgage|library fee",
        },
    ),
    "files": Domain(
        {"create": "created", "delete": "deleted", "share": "shared", "print": "printed", "translate": "translated"},
        ("title", "person", "copies", "date", "size", "code"),
        {
            "train": "report|contract|letter|slide deck|photo album|recipe|poster|map|form|newsletter|playlist|diary",
            "development": "brochure|transcript|blueprint|resume|sales chart",
            "final": "leaflet|manuscript|floor plan|certificate|catalogue",
        },
    ),
}

ARTICLE_FREE = {"heating", "rent", "lunch"}

PARAMETER_NAMES: dict[str, tuple[str, ...]] = {
    "date": ("date", "day"),
    "time": ("time", "start_time"),
    "city": ("city", "destination"),
    "origin": ("origin",),
    "person": ("person", "contact"),
    "title": ("title",),
    "code": ("code", "reference"),
    "nights": ("nights",),
    "guests": ("guests",),
    "copies": ("copies",),
    "minutes": ("minutes",),
    "amount": ("amount",),
    "size": ("size",),
    "colour": ("colour",),
    "priority": ("priority",),
}

WHOLE_NUMBERS = ("nights", "guests", "copies", "minutes", "amount")


def with_article(thing: str, article: str = "a") -> str:
    """Return the thing with "a" or "an", or with any other `article` as it stands."""
    if article == "a" and thing in ARTICLE_FREE:
        return f"the {thing}"
    return f"{'an' if article == 'a' and thing[0] in 'aeiou' else article} {thing}"


def schema(parameters: tuple[Parameter, ...]) -> dict[str, object]:
    """Return the parameters as a JSON Schema of type object."""
    properties: dict[str, object] = {}
    for parameter in parameters:
        kind = "integer" if parameter.kind in WHOLE_NUMBERS else "string"
        properties[parameter.name] = {"type": kind} | ({"enum": list(parameter.options)} if parameter.options else {})
    required = [parameter.name for parameter in parameters if parameter.required]
    return {"type": "object", "properties": properties, "required": required}


def _ability(domain: Domain, verb: str, thing: str, split: Split) -> Ability:
    rng = random.Random(f"{verb} {thing}")
    kinds = rng.sample(domain.kinds, rng.choice((1, 2, 2, 2, 3, 3)))
    num_required = len(kinds) if rng.random() < 0.7 else len(kinds) - 1
    parameters = tuple(
        Parameter(
            rng.choice(PARAMETER_NAMES[kind]),
            kind,
            place < num_required,
            rng.choice(CHOICES[kind][split]) if kind in CHOICES else (),
        )
        for place, kind in enumerate(kinds)
    )
    # They are sorted by name, because the order must not tell which parameters are required.
    parameters = tuple(sorted(parameters, key=lambda parameter: parameter.name))
    description = f"{verb.capitalize()} {with_article(thing)}."
    tool = Tool(f"{verb}_{thing.replace(' ', '_')}", description, schema(parameters))
    return Ability(verb, domain.verbs[verb], thing, parameters, tool)


@cache
def abilities(split: Split) -> tuple[Ability, ...]:
    """Return every tool of the split. They are the same at every call."""
    if split not in SPLITS:
        raise ValueError(f"no such split: {split}")
    return tuple(
        _ability(domain, verb, thing, split)
        for domain in DOMAINS.values()
        for thing in domain.things[split].split("|")
        for verb in domain.verbs
    )
