"""Conversations: what a customer says, what the right answer is at each turn, and what the other answers would be."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from calltune.data.sources.agent.tools import ABILITIES, HELD_OUT, SYSTEM, Ability, Parameter
from calltune.data.sources.agent.values import Split, draw
from calltune.data.sources.agent.words import Words, words_of
from calltune.types import Behavior, Message, ToolCall

_OPTIONAL = 0.4
_FAILS = 0.12
_ERRORS = ("the number is not known", "the service is busy", "the account is locked")


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer that is due: the messages before it, what is right, and an answer of each behaviour."""

    before: tuple[Message, ...]
    behavior: Behavior
    answers: dict[Behavior, Message]

    @property
    def right(self) -> Message:
        """The right answer."""
        return self.answers[self.behavior]


class Talk:
    """One conversation, turn by turn."""

    def __init__(self, rng: random.Random, split: Split, abilities: Sequence[Ability]) -> None:
        self.rng = rng
        self.split: Split = split
        self.words = words_of(split)
        self.abilities = abilities
        self.messages: list[Message] = [Message("system", SYSTEM)]
        self.turns: list[Turn] = []

    def user(self, text: str) -> None:
        """Add what the customer says."""
        self.messages.append(Message("user", text))

    def answer(self, behavior: Behavior, answers: dict[Behavior, Message]) -> None:
        """Add the answer that is right; all four are kept as a turn."""
        self.turns.append(Turn(tuple(self.messages), behavior, answers))
        self.messages.append(answers[behavior])

    def others(self, call: Message, ask: str, topic: str) -> dict[Behavior, Message]:
        """An answer of each behaviour; the right one is put in its place by the caller."""
        return {
            "direct": Message("assistant", self.rng.choice(self.words.claims)),
            "tool_call": call,
            "request_for_info": Message("assistant", ask),
            "cannot_answer": Message("assistant", refusal(self.rng, self.words, topic)),
        }


def refusal(rng: random.Random, words: Words, act: str) -> str:
    """Return a refusal to do something, in the assistant's words."""
    yours = f" {act} ".replace(" my ", " your ").replace(" me ", " you ").replace(" our ", " your ")
    return rng.choice(words.refusals).format(act=yours.strip())


def task(talk: Talk, ability: Ability, misses: bool) -> None:
    """Add a request that a tool serves: a question back where a value is missing, the call, the report.

    Args:
        misses: whether a value that is needed is missing at first.
    """
    rng, split = talk.rng, talk.split
    command = rng.choice(talk.words.commands[ability.tool.name])
    inside = {p.name for p in ability.parameters if "{" + p.name + "}" in command}
    values = {p.name: draw(rng, p.kind, split) for p in ability.parameters if p.is_required or rng.random() < _OPTIONAL}
    needed = [p for p in ability.parameters if p.is_required and p.name not in inside]
    missing = rng.choice(needed) if misses else None
    told = [p for p in ability.parameters if p.name in values and p.name not in inside and p != missing]
    act = command.format(**{name: said for name, (said, _) in values.items()})
    talk.user(_request(rng, talk.words, act, told, values))
    call = _call(ability, {name: value for name, (_, value) in values.items()})
    asked = missing or rng.choice(needed)
    answers = talk.others(call, rng.choice(talk.words.asks[asked.kind]), act)
    if missing is not None:
        # Invented: the value that the customer has in mind is another one.
        invented = draw(rng, missing.kind, split)[1]
        guess = {name: invented if name == missing.name else value for name, (_, value) in values.items()}
        talk.answer("request_for_info", _with(answers, "tool_call", _call(ability, guess)))
        said = values[missing.name][0]
        reply = rng.choice(talk.words.replies).format(v=said)
        talk.user(reply[:1].upper() + reply[1:])
        other = rng.choice(talk.words.asks[rng.choice(needed).kind])
        answers = talk.others(call, other, act)
    talk.answer("tool_call", answers)
    _result(talk, ability, values, call)


def out_of_scope(talk: Talk) -> None:
    """Add a request that no tool serves."""
    rng, split = talk.rng, talk.split
    act = rng.choice(talk.words.topics)
    talk.user(_request(rng, talk.words, act, [], {}))
    ability = rng.choice(talk.abilities)
    call = _call(ability, _drawn(rng, split, ability))
    talk.answer("cannot_answer", talk.others(call, _any_ask(rng, talk.words, ability), act))


def small_talk(talk: Talk) -> None:
    """Add something that needs no tool."""
    rng, split = talk.rng, talk.split
    question, reply = rng.choice(talk.words.talk)
    talk.user(question)
    ability = rng.choice(talk.abilities)
    call = _call(ability, _drawn(rng, split, ability))
    answers = talk.others(call, _any_ask(rng, talk.words, ability), rng.choice(talk.words.topics))
    talk.answer("direct", _with(answers, "direct", Message("assistant", reply)))


def offered(split: Split, is_unseen: bool) -> tuple[Ability, ...]:
    """Return what is offered: the tools of training, and behind them those of a split where they are asked about."""
    return ABILITIES + (HELD_OUT[split] if is_unseen else ())


def _with(answers: dict[Behavior, Message], behavior: Behavior, answer: Message) -> dict[Behavior, Message]:
    return {**answers, behavior: answer}


def _request(
    rng: random.Random, words: Words, act: str, told: Sequence[Parameter], values: dict[str, tuple[str, Any]]
) -> str:
    slots = [rng.choice(words.slots[p.kind]).format(v=values[p.name][0]) for p in told]
    rng.shuffle(slots)
    inline = [slot for slot in slots if slot[0].islower()]
    command = " ".join([act, *inline])
    first = rng.choice(words.requests).format(c=command, C=command[:1].upper() + command[1:])
    return " ".join([first, *(slot[:1].upper() + slot[1:] for slot in slots if slot not in inline)])


def _drawn(rng: random.Random, split: Split, ability: Ability) -> dict[str, Any]:
    return {p.name: draw(rng, p.kind, split)[1] for p in ability.parameters if p.is_required}


def _any_ask(rng: random.Random, words: Words, ability: Ability) -> str:
    kinds = [p.kind for p in ability.parameters if p.is_required and p.kind in words.asks]
    return rng.choice(words.asks[rng.choice(kinds)])


def _call(ability: Ability, arguments: dict[str, Any]) -> Message:
    ordered = {p.name: arguments[p.name] for p in ability.parameters if p.name in arguments}
    return Message("assistant", "", (ToolCall(ability.tool.name, ordered),))


def _result(talk: Talk, ability: Ability, values: dict[str, tuple[str, Any]], call: Message) -> None:
    """Add what the tool gave and the report of it; questions about tools of their own have no report."""
    rng, words, name = talk.rng, talk.words, ability.tool.name
    if name not in words.reports:
        return
    fields = _fields(rng, talk.split, name, values)
    said = {key: text for key, (text, _) in values.items()} | {key: str(value) for key, value in fields.items()}
    report = rng.choice(words.reports[name]).format(**said)
    if rng.random() < _FAILS:
        fields = {"error": rng.choice(_ERRORS)}
        report = rng.choice(words.failures).format(**fields)
    result = json.dumps(fields, ensure_ascii=False, allow_nan=False)
    talk.messages.append(Message("tool", result))
    asked = _any_ask(rng, words, ability)
    answers = talk.others(call, asked, rng.choice(words.topics))
    talk.answer("direct", _with(answers, "direct", Message("assistant", report)))


def _fields(rng: random.Random, split: Split, name: str, values: dict[str, tuple[str, Any]]) -> dict[str, Any]:
    """Return the fields of a tool's result."""
    number = draw(rng, "invoice_number", split)[0][3:]
    if name == "get_allowance":
        return {"data_gb": rng.randint(0, 40), "minutes": rng.randint(0, 600), "texts": rng.randint(0, 200)}
    if name == "list_invoices":
        return {"latest": f"BL-{number}", "amount": rng.randint(8, 90)}
    if name == "pay_invoice":
        return {"status": "paid", "amount": rng.randint(8, 90)}
    if name == "change_plan":
        return {"status": "ok", "starts": values["start_date"][0] if "start_date" in values else "3 March"}
    if name == "order_sim":
        return {"order": f"S{number}"}
    if name == "check_coverage":
        return {"signal": rng.choice(("good", "fair", "weak", "very good"))}
    if name == "report_outage":
        return {"ticket": f"T{number}"}
    return {"status": "ok"}
