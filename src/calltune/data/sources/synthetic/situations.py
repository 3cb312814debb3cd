"""One situation: a request, the tools on offer, the right behaviour, and all four answers written out."""

import random
from dataclasses import dataclass
from functools import lru_cache

from calltune.data.sources.synthetic.catalogue import WHOLE_NUMBERS, Ability, Parameter, abilities, with_article
from calltune.data.sources.synthetic.values import Split, Value, draw
from calltune.data.sources.synthetic.wordings import Wordings, small_talk, wordings
from calltune.types import Behavior, Message, Tool, ToolCall

# Share of the situations without a target tool that offer no tool at all.
NO_TOOLS = 0.1

# Share of the offered tools that differ from the target only in the verb or only in the thing.
NEAR_MISS = 0.25

# Share of the one-value tools passed over when a value is to be missing.
BARE = 0.7


@dataclass(frozen=True, slots=True)
class Situation:
    """A question with its answers; `target` is the tool the request is about (None for small talk)."""

    question: str
    tools: tuple[Tool, ...]
    target: Tool | None
    behavior: Behavior
    answers: dict[Behavior, Message]
    missing: tuple[str, ...]


def say(parameter: Parameter) -> str:
    """Return the parameter's name in words."""
    words = parameter.name.replace("_", " ")
    return f"number of {words}" if words.endswith("s") and parameter.kind in WHOLE_NUMBERS else words


@lru_cache(maxsize=64)
def _without(templates: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the templates that need none of these parts.

    The same few are asked for thousands of times, so they are cached.
    """
    return tuple(t for t in templates if not any("{" + name + "}" in t.lower() for name in names))


def _fill(rng: random.Random, templates: tuple[str, ...], parts: dict[str, str]) -> str:
    """Return a template with its parts filled in. Templates that need an empty part are passed over."""
    fitting = _without(templates, tuple(name for name, text in parts.items() if not text))
    whole = parts | {name.capitalize(): text[:1].upper() + text[1:] for name, text in parts.items()}
    return rng.choice(fitting).format(**whole)


def request_text(rng: random.Random, ability: Ability, values: dict[str, Value], words: Wordings) -> str:
    """Return a request for what the ability does; it names exactly the given values (by parameter name)."""
    phrases = [
        rng.choice(words.slots[parameter.kind]).format(v=values[parameter.name])
        for parameter in ability.parameters
        if parameter.name in values
    ]
    rng.shuffle(phrases)
    act = f"{ability.verb} {with_article(ability.thing, rng.choice(words.articles))}"
    slots = " ".join(phrases)
    return _fill(rng, words.requests, {"act": act, "do": f"{act} {slots}".strip(), "slots": slots})


def _distractors(rng: random.Random, catalogue: tuple[Ability, ...], target: Ability, number: int) -> list[Ability]:
    chosen: list[Ability] = []
    while len(chosen) < number:
        candidate = rng.choice(catalogue)
        if rng.random() < NEAR_MISS:
            near = [a for a in catalogue if (a.verb == target.verb) != (a.thing == target.thing)]
            candidate = rng.choice(near)
        if candidate != target and candidate not in chosen:
            chosen.append(candidate)
    return chosen


def _drawn(rng: random.Random, ability: Ability, split: Split) -> dict[str, Value]:
    return {p.name: draw(rng, p.kind, split, p.options) for p in ability.parameters}


def _call(ability: Ability, values: dict[str, Value]) -> Message:
    arguments = {p.name: values[p.name] for p in ability.parameters if p.name in values}
    return Message("assistant", tool_calls=(ToolCall(ability.tool.name, arguments),))


def _replies(rng: random.Random, ability: Ability, asked: Parameter | None, slots: str, words: Wordings) -> list[str]:
    """Return a refusal, a question back about the ability, and the claim that it is done."""
    parts = {
        "act": f"{ability.verb} {with_article(ability.thing)}",
        "thing": ability.thing,
        "done": ability.participle,
        "slots": slots,
        "what": say(asked) if asked else "details",
    }
    return [_fill(rng, templates, parts) for templates in (words.refusals, words.questions_back, words.claims)]


def _task(rng: random.Random, behavior: Behavior, split: Split) -> Situation:
    words, catalogue = wordings(split), abilities(split)
    target = rng.choice(catalogue)
    required = [p for p in target.parameters if p.required]
    # A tool with one required value would leave a bare request: few of those, or bareness would tell the behaviour.
    while behavior == "request_for_info" and (not required or (len(required) == 1 and rng.random() < BARE)):
        target = rng.choice(catalogue)
        required = [p for p in target.parameters if p.required]
    invented = _drawn(rng, target, split)
    told = {p.name: invented[p.name] for p in target.parameters if p.required or rng.random() < 0.5}
    # A request that no tool can serve is incomplete as often as others, so completeness tells nothing there.
    incomplete = behavior == "request_for_info" or (behavior == "cannot_answer" and rng.random() < 1 / 2)
    missing = rng.sample(required, min(1, len(required)))
    if incomplete:
        told = {name: value for name, value in told.items() if name not in {p.name for p in missing}}
    # An invented value must not be in the request by chance.
    told_words = {word for value in told.values() for word in str(value).split()}
    for parameter in missing if incomplete else []:
        while told_words & set(str(invented[parameter.name]).split()):
            invented[parameter.name] = draw(rng, parameter.kind, split, parameter.options)
    offered = _distractors(rng, catalogue, target, rng.randint(2, 4))
    if behavior != "cannot_answer":
        offered[0] = target
    elif rng.random() < NO_TOOLS:
        offered = []
    rng.shuffle(offered)
    missing_names = tuple(p.name for p in required if p.name not in told)
    asked_parameter = next((p for p in missing if p.name in missing_names), None) or rng.choice(target.parameters)
    called = told | {p.name: invented[p.name] for p in required}
    if behavior == "cannot_answer" and offered and rng.random() < 1 / 2:
        called_ability = rng.choice(offered)
        named = {p.name: told.get(p.name, draw(rng, p.kind, split, p.options)) for p in called_ability.parameters}
        call = _call(called_ability, named)
    else:
        call = _call(target, called)
    told_parameter = next(iter(p for p in target.parameters if p.name in told), None)
    slots = rng.choice(words.slots[told_parameter.kind]).format(v=told[told_parameter.name]) if told_parameter else ""
    refusal, question_back, claim = _replies(rng, target, asked_parameter, slots, words)
    answers: dict[Behavior, Message] = {
        "direct": Message("assistant", claim),
        "tool_call": call,
        "request_for_info": Message("assistant", question_back),
        "cannot_answer": Message("assistant", refusal),
    }
    question = request_text(rng, target, told, words)
    return Situation(question, tuple(a.tool for a in offered), target.tool, behavior, answers, missing_names)


def _talk(rng: random.Random, split: Split) -> Situation:
    words, talk, catalogue = wordings(split), small_talk(split), abilities(split)
    target = rng.choice(catalogue)
    offered = [] if rng.random() < NO_TOOLS else [target, *_distractors(rng, catalogue, target, rng.randint(1, 3))]
    about = rng.choice(offered or [target]) if rng.random() < 1 / 2 else rng.choice(catalogue)
    rng.shuffle(offered)
    a, b = rng.randint(2, 60), rng.randint(2, 39)
    parts = {"thing": about.thing, "a_thing": with_article(about.thing), "a": str(a), "b": str(b), "sum": str(a + b)}
    for name, entries in talk.fillers.items():
        first, _, second = rng.choice(entries).partition("|")
        parts |= {name: first, f"{name}_2": second}
    question, reply = (template.format(**parts) for template in rng.choice(talk.pairs))
    reply = rng.choice(talk.openings) + reply + rng.choice(talk.endings)
    called = rng.choice(offered or [target])
    refusal, question_back, _ = _replies(rng, called, rng.choice(called.parameters), "", words)
    if rng.random() < 1 / 2:
        refusal = rng.choice(words.bare_refusals)
    answers: dict[Behavior, Message] = {
        "direct": Message("assistant", reply),
        "tool_call": _call(called, _drawn(rng, called, split)),
        "request_for_info": Message("assistant", question_back),
        "cannot_answer": Message("assistant", refusal),
    }
    return Situation(question, tuple(a.tool for a in offered), None, "direct", answers, ())


def situation(rng: random.Random, behavior: Behavior, split: Split) -> Situation:
    """Return a situation in which `behavior` is right."""
    return _talk(rng, split) if behavior == "direct" else _task(rng, behavior, split)
