"""How an agent itself refuses and asks: the patterns of its own most frequent refusals and questions.

A refusal such as "I'm sorry, I can't cancel flights. A colleague can help." becomes "I'm sorry, I can't {act}. A
colleague can help.", if other refusals begin so too, and if others have the second sentence; else that is left out. A
question such as "Sure! Could you give me the date?" becomes "Sure! Could you give me {what}?".
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from calltune.calling.behavior import text_behavior
from calltune.types import Behavior, Example, Preference

_SENTENCES = re.compile(r"(?<=[.!?;])\s+")
_END = re.compile(r"(?:,? please)?[.!?;]?$")
_HEADS: dict[Behavior, re.Pattern[str]] = {
    "cannot_answer": re.compile(
        r"(.*?\b(?:can't|cannot|can not|unable to|not able to|won't be able to|no way to))\s+\w.*", re.IGNORECASE
    ),
    "request_for_info": re.compile(
        r"(.*?\b(?:tell me|give me|let me know|know|share|provide|specify|confirm|need|send me|what is|what's))"
        r"\s+(?:the|your|a|an|which|what|when|where|how|whether)\b.*",
        re.IGNORECASE,
    ),
}
_PLACES = {"cannot_answer": "{act}", "request_for_info": "{what}"}
_LONGEST_HEAD, _OFTEN = 9, 2


@dataclass(frozen=True, slots=True)
class Tone:
    """Patterns of an agent's own, each as often as it is used.

    `refusals` have a place {act}, as in `get the weather for a city`; `questions` a place {what}, as in `the city`.
    """

    refusals: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()


def tone_of(rows: Iterable[Example | Preference]) -> Tone:
    """Return the patterns that at least two of an agent's own answers to a user share."""
    texts: dict[str, list[str]] = {behavior: [] for behavior in _HEADS}
    for row in rows:
        answer = row.answers[0]
        is_own = isinstance(row, Example) and not row.rule and not answer.tool_calls
        if is_own and row.behavior in texts and row.prompt[-1:] and row.prompt[-1].role == "user":
            texts[row.behavior].append(" ".join(answer.content.split()))
    return Tone(*(_patterns(behavior, texts[behavior]) for behavior in _HEADS))


def _patterns(behavior: Behavior, texts: list[str]) -> tuple[str, ...]:
    split = [_SENTENCES.split(text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")) for text in texts]
    said = Counter(sentence for sentences in split for sentence in {*sentences})
    cores = [_core(behavior, sentences) for sentences in split]
    heads = Counter(head for _, head in filter(None, cores))
    patterns = []
    for sentences, core in zip(split, cores, strict=True):
        if core is None or heads[core[1]] < _OFTEN:
            continue
        place, head = core
        kept = [number for number, sentence in enumerate(sentences) if number == place or said[sentence] >= _OFTEN]
        found = _END.search(sentences[place])
        end = (found[0] if found else "") or "."
        if end == ";" and place + 1 not in kept:
            end = "."
        core_text = f"{_escaped(head)} {_PLACES[behavior]}{end}"
        patterns.append(" ".join(core_text if number == place else _escaped(sentences[number]) for number in kept))
    return tuple(sorted(patterns))


def _core(behavior: Behavior, sentences: list[str]) -> tuple[int, str] | None:
    """Return the number of the sentence that shows the behaviour, and its beginning, which any topic could follow."""
    for number, sentence in enumerate(sentences):
        if text_behavior(sentence) == behavior and (found := _HEADS[behavior].fullmatch(sentence)):
            return (number, found[1]) if len(found[1].split()) <= _LONGEST_HEAD else None
    return None


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
