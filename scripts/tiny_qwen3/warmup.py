"""The warm-up text: tool lists, requests, replies and small exercises, none of which says how to behave.

A reply's kind (call, refusal, question back, claim, small-talk reply) is drawn without a look at the situation, so
the text holds no label of the task. The exercises teach reading: fill a form from a request, name the tool, look a
pair of words up in the tool list, copy a value, list parameters.
"""

import json
from collections.abc import Iterator

from calltune.data.sources.synthetic import values
from tiny_qwen3.sentences import (
    ALL_VERBS,
    Ability,
    ability,
    any_thing,
    blind_reply,
    call_text,
    other_ability,
    request,
    small_talk_pair,
    tool_list,
)
from tiny_qwen3.words import Dice

Piece = tuple[str, float]
"""Text and the weight of its tokens in the loss."""

USER_WEIGHT = 0.15

DECIDING_WEIGHT = 5.0

# By stage of the course, the upper ends of the shares of turns that are notes, look-ups and lists of open parameters.
# 0 has plain words, 1 odder ones, 2 more searching, 3 notes, 4 shorter notes, 5 few of all of them,
# 6 more calls and longer odd names, 7 the same with hardly an exercise.
EXERCISES = (
    (0, 0, 0),
    (0, 0, 0),
    (0, 0.24, 0.38),
    (0.3, 0.4, 0.5),
    (0.3, 0.36, 0.42),
    (0.05, 0.08, 0.12),
    (0.15, 0.21, 0.25),
    (0, 0.02, 0.04),
)


def _form(rng: Dice, wanted: Ability, given: dict[str, values.Value]) -> str:
    """Every parameter with its value, or that it is open."""
    return "\n".join(
        f"{p.name} ({'required' if p.required else 'optional'}): {given.get(p.name, 'open')}" for p in wanted.parameters
    )


def _framed(rng: Dice, order: str, text: str) -> str:
    """The order before or after the text it is about."""
    return f"{order}: {text}" if rng.random() < 0.5 else f"{text}\n{order}."


def _listed_or_not(rng: Dice, offered: list[Ability]) -> tuple[Ability, str]:
    """An ability that is in the tool list as often as not, and the word for that."""
    wanted = rng.choice(offered)
    if rng.random() < 0.5:
        return wanted, "listed"
    near = rng.choice(offered)
    verb, thing, kind = rng.choice(list(ALL_VERBS)), any_thing(rng), rng.random()
    wanted = ability(rng, near.verb if kind < 0.25 else verb, near.thing if 0.25 < kind < 0.4 else thing)
    there = any((a.verb, a.thing) == (wanted.verb, wanted.thing) for a in offered)
    return wanted, "listed" if there else "not listed"


def _look_up(rng: Dice, offered: list[Ability]) -> tuple[str, list[Piece]]:
    """Whether a verb and a thing are in the tool list; the deciding word weighs more and often comes first."""
    wanted, listed = _listed_or_not(rng, offered)
    pair = f"{wanted.verb} {wanted.thing}"
    text = request(rng, wanted).text if rng.random() < 0.65 else pair
    if rng.random() < 0.5:
        return _framed(rng, "Listed or not", text), [(listed, DECIDING_WEIGHT), (f": {pair}<|im_end|>", 1.0)]
    return _framed(rng, "Look it up", text), [(f"{pair}:", 1.0), (f" {listed}", DECIDING_WEIGHT), ("<|im_end|>", 1.0)]


def _note(rng: Dice, offered: list[Ability]) -> tuple[str, list[Piece]]:
    """A request answered by no more than a note: whether the tool is listed, and the required values left open."""
    wanted, listed = _listed_or_not(rng, offered)
    asked = request(rng, wanted)
    names = [p.name for p in wanted.parameters if p.required and p.name not in asked.given]
    answer: list[Piece] = [(listed, DECIDING_WEIGHT), (",", 1.0)]
    answer += (
        [(" open", DECIDING_WEIGHT), (f": {', '.join(names)}", 1.0)] if names else [(" all given", DECIDING_WEIGHT)]
    )
    if listed == "not listed":
        answer = answer[:1]
    elif rng.stage >= 4:
        answer = [("open", DECIDING_WEIGHT), answer[3]] if names else [("all given", DECIDING_WEIGHT)]
    return asked.text, [*answer, ("<|im_end|>", 1.0)]


def _open_ones(rng: Dice, offered: list[Ability]) -> tuple[str, list[Piece]]:
    """Which parameters, required or not, a request leaves open."""
    asked = request(rng, rng.choice(offered))
    names = [p.name for p in asked.ability.parameters if p.name not in asked.given]
    answer = [("open", DECIDING_WEIGHT), (f": {', '.join(names)}", 1.0)] if names else [("all given", DECIDING_WEIGHT)]
    return _framed(rng, "Say what is open", asked.text), [*answer, ("<|im_end|>", 1.0)]


def _turn(rng: Dice, offered: list[Ability]) -> tuple[str, list[Piece]]:
    """One user text and the pieces of the assistant's answer."""
    pick = rng.random() if rng.stage >= 2 and offered else 1.0
    notes, look_ups, open_ones = EXERCISES[rng.stage]
    if pick < notes:
        return _note(rng, offered)
    if pick < open_ones:
        return _look_up(rng, offered) if pick < look_ups else _open_ones(rng, offered)
    user, assistant = _plain_turn(rng, offered)
    return user, [(f"{assistant}<|im_end|>", 1.0)]


def _plain_turn(rng: Dice, offered: list[Ability]) -> tuple[str, str]:
    """One user text and one assistant text over the tool list."""
    pick = rng.random()
    present = offered and rng.random() < 0.6
    wanted = (
        rng.choice(offered)
        if present
        else other_ability(rng, offered)
        if offered
        else ability(rng, "book", any_thing(rng))
    )
    asked = request(rng, wanted)
    pair = f"{wanted.verb} {wanted.thing}"
    if pick < 0.32 or not offered:
        return asked.text, blind_reply(rng, wanted, asked.given, offered, small_talk_pair(rng, wanted)[1])
    if pick < 0.45:
        question, reply = small_talk_pair(rng, wanted)
        return question, blind_reply(rng, wanted, {}, offered, reply)
    if pick < 0.60:
        if not present:
            asked = request(rng, rng.choice(offered))
        return _framed(rng, "Fill the form", asked.text), _form(rng, asked.ability, asked.given)
    if pick < 0.68:
        mate = rng.choice(offered)
        asked = request(rng, mate)
        return _framed(rng, "Name the tool", asked.text), mate.tool.name
    if pick < 0.84:
        listed = "listed" if present else "not listed"
        return _framed(rng, "Look it up", asked.text if rng.random() < 0.75 else pair), f"{pair}: {listed}"
    if pick < 0.90:
        some = rng.choice(offered)
        names = [p.name for p in some.parameters if p.required]
        return f"What does {some.tool.name} require?", ", ".join(names) if names else "all optional"
    if pick < 0.95 and asked.given:
        name = rng.choice(list(asked.given))
        return _framed(rng, f"Copy the {name.replace('_', ' ')}", asked.text), str(asked.given[name])
    mate = rng.choice(offered)
    asked = request(rng, mate)
    return _framed(rng, "Write the call", asked.text), call_text(mate.tool.name, asked.given)


def document(rng: Dice, num_turns: int) -> list[Piece]:
    """One conversation over one tool list, rendered as the chat template does."""
    offered = tool_list(rng) if rng.random() < 0.95 else []
    lines = "".join(
        json.dumps({"name": a.tool.name, "description": a.tool.description, "parameters": a.tool.parameters}) + "\n"
        for a in offered
    )
    pieces: list[Piece] = [(f"<|im_start|>system\nTools:\n{lines}<|im_end|>\n", 0.0)] if offered else []
    for _ in range(num_turns):
        user, answer = _turn(rng, offered)
        pieces.append((f"<|im_start|>user\n{user}<|im_end|>\n", USER_WEIGHT))
        pieces += [("<|im_start|>assistant\n", 0.0), *answer, ("\n", 0.0)]
    return pieces


def documents(seed: str, num_turns: int, stage: int = 0) -> Iterator[list[Piece]]:
    """Conversations without end, at a stage of the course."""
    rng = Dice(seed)
    rng.stage = stage
    while True:
        yield document(rng, num_turns)
