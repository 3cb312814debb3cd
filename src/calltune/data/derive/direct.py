"""Questions that need none of the tools on offer, with their answers."""

import random
import re
from collections.abc import Iterable, Iterator
from functools import cache

from calltune.data.derive.chatting import CHATTING
from calltune.data.derive.knowledge import KNOWLEDGE
from calltune.data.derive.vocabulary import content_words, word_set
from calltune.data.randomness import unit_interval
from calltune.data.sources.synthetic.wordings import small_talk
from calltune.types import Tool

_OPENINGS = (
    "",
    "",
    "",
    "",
    "Quick question: ",
    "One more thing. ",
    "Hi! ",
    "Just curious. ",
    "Something else. ",
    "Hello! ",
)

# These words mark tools that could answer almost any question.
_KNOW_ALL = word_set(
    "web internet wikipedia google bing answer chat question knowledge encyclopedia browser gpt llm assistant "
    "conversation trivia quiz fact joke"
)
# A tool that speaks of these words could answer questions of the subject; the question's own words count too.
_SUBJECT_WORDS = {
    "numbers": "calculator calculat comput math mathematical arithmetic number add sum expression equation evaluat "
    "geometry multiply square prime statistic",
    "nature": "animal plant specy biology weather nature fruit",
    "sky": "planet moon sun astronomy space star",
    "places": "country capital city geography map place location language",
    "past": "history historical event artist author book art painting music",
    "body": "health medical body symptom disease",
    "kitchen": "recipe food ingredient cook nutrition",
    "machines": "computer technology software device code",
    "language": "word dictionary definition synonym translat language meaning text thesauru grammar spell poem",
    "play": "sport game music team color colour chess",
    "chat": "joke poem motivation mood horoscope birthday greet",
}
_HELD_OUT_SHARE = 0.2


def small_talk_for(tools: Iterable[Tool], rng: random.Random, *, held_out: bool = False) -> tuple[str, str] | None:
    """Return a question and its answer that none of the tools could give; None when the tools cover everything."""
    words = _words(tools)
    pool = _pool(held_out)
    for _ in range(40):
        subject, question, answer = pool[rng.randrange(len(pool))]
        if words & _KNOW_ALL and subject != "chat":
            continue
        if not words & (set(_SUBJECT_WORDS[subject].split()) | content_words(question)):
            # A greeting begins by itself.
            takes_opening = question.endswith("?") and not question.startswith(("Hi", "Hey", "Hello"))
            return (rng.choice(_OPENINGS) if takes_opening else "") + question, answer
    return None


def _words(tools: Iterable[Tool]) -> set[str]:
    return {word for tool in tools for word in content_words(f"{tool.name} {tool.description}")}


@cache
def _pool(held_out: bool) -> list[tuple[str, str, str]]:
    """Return (subject, question, answer) of the training or of the held-out pool.

    A question, or a template with all its fillings, is in one of the two pools.
    """
    return [
        (subject, question, answer)
        for template, subject, question, answer in _all()
        if (unit_interval("direct", template) < _HELD_OUT_SHARE) == held_out
    ]


def _all() -> Iterator[tuple[str, str, str, str]]:
    """Yield (template, subject, question, answer)."""
    for subject, pairs in KNOWLEDGE.items():
        for question, answer in pairs:
            yield question, subject, question, answer
    for question, answer in CHATTING:
        yield question, "chat", question, answer
    yield from _templates()


def _templates() -> Iterator[tuple[str, str, str, str]]:
    """Yield the synthetic source's small talk, as far as it is not about that source's own tools."""
    subjects = {
        "word": "language",
        "country": "places",
        "animal": "nature",
        "opposite": "language",
        "coloured": "nature",
    }
    talk = small_talk("train")
    for question, answer in talk.pairs:
        names = set(re.findall(r"{(\w+?)(?:_2)?}", question + answer))
        (name,) = names if len(names) == 1 else ("",)
        # Only two fillings of a template are used, because many of one kind would teach the template.
        for entry in talk.fillers[name][:2] if name in subjects else ():
            first, _, second = entry.partition("|")
            parts = {name: first, f"{name}_2": second}
            yield question, subjects[name], question.format(**parts), answer.format(**parts)
