"""Refusals, questions back and claims about a tool, composed from parts so that no phrase gives an answer away.

`calltune.calling.behavior` reads every text back: a refusal must read as a refusal, a question as a question, a claim
as neither. Training and held-out questions have cores of their own, so that a test does not measure which sentences
were learnt by heart.

Placeholders: {act} `get the weather for a city`, {Act} with a capital, {topic} `weather lookup`, {what} `the city`.
"""

import random
import re
from collections.abc import Iterator, Sequence

from calltune.calling.arguments import argument_schemas
from calltune.calling.behavior import text_behavior
from calltune.data.derive.phrases import ability, options, plain_name, thing, topic
from calltune.data.derive.tone import Tone
from calltune.types import Behavior, Message, Tool

NO_TONE = Tone()

_REFUSALS = (
    "I can't {act} with the tools I have",
    "I'm not able to {act} right now",
    "I don't have anything that would let me {act}",
    "to {act} is not possible for me at the moment",
    "nothing I have been given lets me {act}, so I can't do this",
    "I lack the means to {act}",
    "I have no way to {act} and can't help with this one",
    "I am unable to {act}",
    "I cannot {act} from here",
    "you would need something that can {act}, and I don't have it",
    "none of my tools can {act}, so I'm unable to do that",
    "I would have to {act} for that, which I can't",
    "I wish I could {act}, but I can't",
    "I don't currently have a way to {act}",
    "it is beyond my reach to {act}",
    "I can't do that, as no tool of mine can {act}",
)
_HELD_OUT_REFUSALS = (
    "I have no access to anything that can {act}, so I cannot do that",
    "I won't be able to {act}",
    "at present I cannot {act}, the right tool is missing",
    "my tools do not cover this: I can't {act}",
    "what I have here is not capable of this, I can't {act}",
)
_TOPIC_REFUSALS = (
    "I don't have a tool for {topic}",
    "I can't help with {topic} here",
    "nothing I have covers {topic}, so I'm unable to do this",
    "I lack a tool for {topic}",
    "{topic} is beyond my tools, I can't do it",
)
_HELD_OUT_TOPIC_REFUSALS = (
    "I have no access to {topic}, so I cannot do that",
    "for {topic} I do not have the right tool",
)
_REFUSAL_OPENINGS = ("", "", "", "Sorry, ", "I'm afraid ", "Unfortunately, ", "Thanks for asking, but ", "Hm, ")
_REFUSAL_ENDINGS = (".", ".", ".", ". You could try it elsewhere.", ". I'd rather say so than guess.",
                    ". Is there anything else I can do?", ". If that changes, I'll gladly help.")  # fmt: skip

_BARE_REFUSALS = (
    "I can't help with that",
    "that is not something I can answer",
    "I don't have a tool for this question",
    "I'm unable to say anything about that",
    "this is beyond my tools, so I cannot answer",
    "I'm not able to talk about this",
)
_HELD_OUT_BARE_REFUSALS = ("I cannot tell you that", "for this I lack the right tool", "I don't have that knowledge")

_QUESTIONS = (
    "could you tell me {what}?",
    "I still need {what} to {act}.",
    "please tell me {what}.",
    "before I {act}, could you give me {what}?",
    "I need to know {what} first.",
    "to {act}, I need {what} from you.",
    "one thing is missing: can you tell me {what}?",
    "can you also tell me {what}?",
    "would you let me know {what}?",
    "let me know {what} and I will {act}.",
    "you have not mentioned {what} yet, could you share that?",
    "I can do that as soon as I know one more thing. Please tell me {what}.",
    "happy to {act}. Could you specify {what}?",
)
# These stand for a parameter whose texts say nothing, such as `query`.
_BEFORE_CLAUSE = re.compile(r"(?:tell me|know|specify|confirm) {what}")
_UNSAID = ("what exactly you are looking for", "what exactly you want", "what it should be", "what you have in mind")
_NOUN_QUESTIONS = ("what is {what}?", "what should {what} be?")
_HELD_OUT_QUESTIONS = (
    "may I ask for {what}?",
    "could you say a little more? I would need to know {what}.",
    "kindly provide {what}, then I can {act}.",
    "I will need {what} before I go on. Can you tell me?",
    "there is one thing left to ask: will you tell me {what}?",
)
_QUESTION_OPENINGS = ("", "", "", "Sure, ", "Of course, ", "Gladly, ", "Okay, ", "Almost there: ")
_QUESTION_ENDINGS = ("", "", "", " Then I can go ahead.", " I'd rather not guess.")

_CLAIMS = (
    "I was able to {act}, and everything is as it should be",
    "I made sure to {act}, and it worked",
    "there was no need for a tool to {act}; it is settled",
    "I just managed to {act}",
    "it took a moment to {act}, but it is finished",
    "all set, I took the time to {act}",
    "it was no trouble to {act}, and it is done",
    "I know enough to {act} without any tool, so consider it done",
)
_HELD_OUT_CLAIMS = (
    "it was easy to {act}, so that is taken care of",
    "I took it upon myself to {act}, and it went well",
    "that has been handled, I stepped in to {act}",
)
_TOPIC_CLAIMS = ("your {topic} request is done", "everything about {topic} is settled", "I took care of {topic}")
_CLAIM_OPENINGS = ("", "", "", "Sure, ", "Good news, ", "Right, ", "Okay, ")
_CLAIM_ENDINGS = (".", ".", ".", ". Have a nice day!", ", as you asked.", ". That is all there is to it.")

_TRIES = 12
_OWN = 0.8
"""Share of the answers that take the agent's own pattern, where there is one."""


def refusal(tool: Tool, rng: random.Random, *, held_out: bool = False, tone: Tone = NO_TONE) -> Message | None:
    """Return a text that says this tool's ability is not there; None when no wording of it reads as a refusal."""
    if (act := ability(tool)) and (own := _own("cannot_answer", tone.refusals, {"act": act}, rng)):
        return own
    cores = _HELD_OUT_REFUSALS if held_out else _REFUSALS
    topics = _HELD_OUT_TOPIC_REFUSALS if held_out else _TOPIC_REFUSALS
    parts = {"act": act, "topic": topic(tool)}
    return _worded("cannot_answer", _REFUSAL_OPENINGS, cores if parts["act"] else topics, _REFUSAL_ENDINGS, parts, rng)


def bare_refusal(rng: random.Random, *, held_out: bool = False, tone: Tone = NO_TONE) -> Message | None:
    """Return a refusal that names no ability, or None."""
    if own := _own("cannot_answer", tone.refusals, {"act": "help with that"}, rng):
        return own
    cores = _HELD_OUT_BARE_REFUSALS if held_out else _BARE_REFUSALS
    return _worded("cannot_answer", _REFUSAL_OPENINGS, cores, _REFUSAL_ENDINGS, {}, rng)


def question(
    tool: Tool, parameter: str, rng: random.Random, *, held_out: bool = False, tone: Tone = NO_TONE
) -> Message | None:
    """Return a text that asks for one parameter's value; None when no wording of it reads as a question."""
    schema = argument_schemas(tool.parameters)[parameter]
    what = (
        (rng.random() < 0.7 and thing(parameter, schema)) or plain_name(parameter, schema) or thing(parameter, schema)
    )
    cores, patterns = _HELD_OUT_QUESTIONS if held_out else _QUESTIONS, tone.questions
    what = what or rng.choice(_UNSAID)
    if not what.startswith("the "):
        # A clause, such as `whether it is open`, follows some verbs alone.
        cores, patterns = (tuple(each for each in kind if _BEFORE_CLAUSE.search(each)) for kind in (cores, patterns))
    elif not held_out:
        cores += _NOUN_QUESTIONS
    endings: Sequence[str] = _QUESTION_ENDINGS
    if (allowed := options(schema)) and rng.random() < 0.5:
        endings = (f" The choices are {', '.join(allowed[:-1])} or {allowed[-1]}.",)
    if own := _own("request_for_info", patterns, {"what": what}, rng):
        return own
    act = ability(tool)
    cores = tuple(core for core in cores if act or "{act}" not in core)
    return _worded("request_for_info", _QUESTION_OPENINGS, cores, endings, {"act": act, "what": what}, rng)


def claim(tool: Tool, rng: random.Random, *, held_out: bool = False) -> Message | None:
    """Return a text that pretends the tool's work is done; None when no wording of it reads as a plain answer."""
    parts = {"act": ability(tool), "topic": topic(tool)}
    cores = (_HELD_OUT_CLAIMS if held_out else _CLAIMS) if parts["act"] else _TOPIC_CLAIMS
    return _worded("direct", _CLAIM_OPENINGS, cores, _CLAIM_ENDINGS, parts, rng)


def _own(behavior: Behavior, patterns: Sequence[str], parts: dict[str, str], rng: random.Random) -> Message | None:
    """Return an answer in the agent's own tone; None where it has none, where chance wants another, or none fits."""
    if not patterns or rng.random() >= _OWN:
        return None
    text = rng.choice(patterns).format(**parts)
    return Message("assistant", text) if text_behavior(text) == behavior else None


def _worded(
    behavior: Behavior,
    openings: Sequence[str],
    cores: Sequence[str],
    endings: Sequence[str],
    parts: dict[str, str],
    rng: random.Random,
) -> Message | None:
    for _ in range(_TRIES):
        opening, core, ending = rng.choice(openings), rng.choice(cores), rng.choice(endings)
        if ":" in core:
            opening = opening.replace(": ", ", ")
        text = opening + core.format(**parts) + ending
        # A tool's description may hold words that turn the meaning round.
        if text_behavior(text) == behavior:
            return Message("assistant", _capitalized(text))
    return None


def _capitalized(text: str) -> str:
    starts: Iterator[re.Match[str]] = re.finditer(r"(?:^|[.?!] )([a-z])", text)
    for match in starts:
        text = text[: match.start(1)] + match[1].upper() + text[match.end(1) :]
    return text
