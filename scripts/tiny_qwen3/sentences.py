"""Tools, requests and replies of the warm-up, made of the train split's words and of its own."""

import json
from dataclasses import dataclass

from calltune.data.sources.synthetic import values
from calltune.data.sources.synthetic.catalogue import DOMAINS, PARAMETER_NAMES, Ability, Parameter, schema, with_article
from calltune.data.sources.synthetic.situations import say
from calltune.data.sources.synthetic.wordings import small_talk, wordings
from calltune.types import Tool
from tiny_qwen3.phrases import warmup_replies, warmup_requests, warmup_slots, warmup_small_talk
from tiny_qwen3.words import VERBS, Dice, made_up, nouns

TRAIN_THINGS = tuple(thing for domain in DOMAINS.values() for thing in domain.things["train"].split("|"))
ALL_VERBS = VERBS | {verb: done for domain in DOMAINS.values() for verb, done in domain.verbs.items()}
EXTRA_NAMES = {
    "date": ("due_date", "arrival_date"), "time": ("hour", "end_time"), "city": ("town", "place"),
    "origin": ("start_city",), "person": ("name", "owner", "guest", "recipient"), "title": ("subject", "topic"),
    "code": ("id", "number"), "nights": ("num_nights",), "guests": ("people",), "copies": ("pieces", "quantity"),
    "minutes": ("duration",), "amount": ("price", "total"), "size": ("format",), "colour": ("paint",),
    "priority": ("importance",),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Request:
    """A worded request for an ability, with the values it names."""

    text: str
    ability: Ability
    given: dict[str, values.Value]


def any_thing(rng: Dice) -> str:
    pick = rng.random()
    if pick < (0.2 if rng.stage else 0.3):
        return rng.choice(TRAIN_THINGS)
    if pick < (0.35 if rng.stage else 0.55):
        return rng.choice(nouns())
    if pick < 0.8:
        return made_up(rng)
    first = made_up(rng) if rng.stage >= 6 and rng.random() < 0.5 else rng.choice(nouns())
    return f"{first} {made_up(rng) if rng.random() < 0.5 else rng.choice(nouns())}"


def _value(rng: Dice, parameter: Parameter) -> values.Value:
    """Like a train value, but half of the names are made up."""
    if rng.random() < 0.5:
        match parameter.kind:
            case "city" | "origin":
                return made_up(rng).capitalize()
            case "person":
                return f"{made_up(rng).capitalize()} {made_up(rng).capitalize()}"
            case "title":
                return f"{made_up(rng).capitalize()} {rng.choice(nouns()).capitalize()}"
    return values.draw(rng, parameter.kind, "train", parameter.options)


def _options(rng: Dice, kind: str) -> tuple[str, ...]:
    if kind not in values.CHOICES:
        return ()
    if rng.random() < 0.4:
        return rng.choice(values.CHOICES[kind]["train"])
    return tuple(made_up(rng) if rng.random() < 0.5 else rng.choice(nouns()) for _ in range(rng.choice((2, 2, 3))))


def ability(rng: Dice, verb: str, thing: str) -> Ability:
    """A made-up tool for the verb and the thing."""
    kinds = rng.sample(list(PARAMETER_NAMES), rng.choice((1, 2, 2, 2, 3, 3)))
    num_required = len(kinds) if rng.random() < 0.6 else len(kinds) - 1
    parameters = tuple(
        Parameter(
            rng.choice(PARAMETER_NAMES[kind] + (EXTRA_NAMES[kind] if rng.random() < 0.3 else ())),
            kind,
            place < num_required,
            _options(rng, kind),
        )
        for place, kind in enumerate(kinds)
    )
    parameters = tuple(sorted(parameters, key=lambda parameter: parameter.name))
    tool = Tool(f"{verb}_{thing.replace(' ', '_')}", f"{verb.capitalize()} {with_article(thing)}.", schema(parameters))
    return Ability(verb, ALL_VERBS[verb], thing, parameters, tool)


def tool_list(rng: Dice) -> list[Ability]:
    """One to four tools; neighbours often share the verb or the thing."""
    verbs, found = list(ALL_VERBS), [ability(rng, rng.choice(list(ALL_VERBS)), any_thing(rng))]
    for _ in range(rng.choice((1, 2, 2, 3, 3))):
        verb, thing = rng.choice(verbs), any_thing(rng)
        if rng.random() < 0.3:
            verb, thing = (found[0].verb, thing) if rng.random() < 0.6 else (verb, found[0].thing)
        if all((a.verb, a.thing) != (verb, thing) for a in found):
            found.append(ability(rng, verb, thing))
    rng.shuffle(found)
    return found


def _fill(rng: Dice, templates: tuple[str, ...], parts: dict[str, str]) -> str:
    whole = parts | {name.capitalize(): text[:1].upper() + text[1:] for name, text in parts.items()}
    while True:
        template = rng.choice(templates)
        if all(text or "{" + name not in template for name, text in parts.items()):
            return template.format(**whole)


def request(rng: Dice, wanted: Ability) -> Request:
    """A request that names some of the ability's values."""
    keep = rng.choice((1.0, 1.0, 0.7, 0.4))
    given = {p.name: _value(rng, p) for p in wanted.parameters if rng.random() < keep}
    slots = warmup_slots()
    phrases = [rng.choice(slots[p.kind]).format(v=given[p.name]) for p in wanted.parameters if p.name in given]
    rng.shuffle(phrases)
    act = f"{wanted.verb} {with_article(wanted.thing, rng.choice(ARTICLES))}"
    parts = {"act": act, "do": " ".join([act, *phrases]), "slots": " ".join(phrases)}
    return Request(_fill(rng, warmup_requests(), parts), wanted, given)


ARTICLES = (*wordings("train").articles, "this", "that", "your", "his", "her", "their", "one", "another")


def other_ability(rng: Dice, offered: list[Ability]) -> Ability:
    """An ability that is not offered, often near to one that is."""
    while True:
        verb, thing = rng.choice(list(ALL_VERBS)), any_thing(rng)
        near = rng.choice(offered)
        if rng.random() < 0.5:
            verb, thing = (near.verb, thing) if rng.random() < 0.6 else (verb, near.thing)
        if all((a.verb, a.thing) != (verb, thing) for a in offered):
            return ability(rng, verb, thing)


def call_text(name: str, arguments: dict[str, values.Value]) -> str:
    """A call as the chat template writes it."""
    body = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{body}\n</tool_call>"


def _call(rng: Dice, called: Ability, given: dict[str, values.Value]) -> str:
    """A call; values that are not given are made up, optional ones half of the time."""
    arguments = {
        p.name: given[p.name] if p.name in given else _value(rng, p)
        for p in called.parameters
        if p.name in given or p.required or rng.random() < 0.2
    }
    return call_text(called.tool.name, arguments)


def blind_reply(rng: Dice, about: Ability, given: dict[str, values.Value], offered: list[Ability], talk: str) -> str:
    """A reply whose kind is drawn blindly."""
    asked = rng.choice(about.parameters)
    phrases = warmup_slots()
    named = next((p for p in about.parameters if p.name in given), None)
    parts = {
        "act": f"{about.verb} {with_article(about.thing)}",
        "thing": about.thing,
        "done": about.participle,
        "what": say(asked),
        "slots": rng.choice(phrases[named.kind]).format(v=given[named.name]) if named else "",
    }
    # Calls have the most to copy, so late in the course they come up more often, as blindly as before.
    calls = ("call", "call", "call") if rng.stage >= 6 else ("call",)
    kind = rng.choice((*calls, "refusal", "back", "claim", "talk"))
    if kind == "call":
        called = about if rng.random() < 0.7 or not offered else rng.choice(offered)
        return _call(rng, called, given if called is about else {})
    return talk if kind == "talk" else _fill(rng, warmup_replies()[kind], parts)


def _word_like(rng: Dice, text: str) -> str:
    word = made_up(rng) if rng.random() < 0.7 else rng.choice(nouns())
    return word.capitalize() if text[:1].isupper() else word


def small_talk_pair(rng: Dice, about: Ability) -> tuple[str, str]:
    talk = small_talk("train")
    a, b = rng.randint(2, 60), rng.randint(2, 39)
    parts = {"thing": about.thing, "a_thing": with_article(about.thing), "a": str(a), "b": str(b), "sum": str(a + b)}
    parts["a_thing_2"] = with_article(any_thing(rng))
    for name, entries in talk.fillers.items():
        first, _, second = rng.choice(entries).partition("|")
        if rng.stage and rng.random() < 0.5:
            first, second = _word_like(rng, first), _word_like(rng, second)
        parts |= {name: first, f"{name}_2": second}
    question, reply = rng.choice(warmup_small_talk())
    return question.format(**parts), reply.format(**parts)
