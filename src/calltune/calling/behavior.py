"""Which behaviour an answer shows: a call is known by itself, a text by a small rule that a reader can check.

The rule reads English. A test holds its agreement with the labels of NVIDIA's When2Call options.
"""

import re

from calltune.types import Behavior, Message

_REFUSAL = re.compile(
    r"\b(?:can'?t|can ?not|unable to|not able to|won'?t be able|(?:don|doesn)'?t (?:currently )?have|"
    r"do(?:es)? not (?:currently )?have|not (?:possible|equipped|capable|supported|something i)|"
    r"isn'?t (?:possible|something i)|there is no (?:tool|way|function)|no (?:tool|function) (?:here|for|that|to)|"
    r"lack (?:the|a|access)|beyond my|outside (?:my|of my))",
    re.IGNORECASE,
)
_REQUEST = re.compile(
    r"\b(?:(?:please|kindly) (?:tell|provide|specify|give|share|let|say|state|clarify)|"
    r"(?:could|can|would) you (?:please |kindly )?(?:tell|provide|specify|give|share|clarify|say|let me|confirm|also)|"
    r"may i (?:have|know|ask)|let me know|tell me|"
    r"i(?:'?ll|'?d| will| would)? (?:also |still |just |first )*need (?:to know|to confirm|the|a|some|your))\b",
    re.IGNORECASE,
)
_OFFER = re.compile(
    r"\b(?:how about|what about|would you like|do you (?:want|wish|like)|what do you think|may i (?:suggest|recommend)|"
    r"does (?:that|this|it)|will that|would that|shall i|anything else|interest you|how does)\b",
    re.IGNORECASE,
)
_ASKS_FOR_VALUE = re.compile(
    r"\b(?:which|when|where|who|whose|how (?:many|much|long|often)|what(?! about| do you think| is your))\b",
    re.IGNORECASE,
)
_QUESTION = re.compile(r"[^.!?]*\?(?=\s|$)")


def text_behavior(text: str) -> Behavior:
    """Return what a text without a call does: refuse, ask for what is missing, or answer directly.

    A refusal is known by its words ("can't", "don't have"), a request by its words or by a question that is no offer
    ("How about Tuesday?" offers). A text that has both is a refusal, because refusals often end with an offer to help
    otherwise.
    """
    text = text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    if _REFUSAL.search(text):
        return "cannot_answer"
    if _REQUEST.search(text) or any(map(_requests, _QUESTION.findall(text))):
        return "request_for_info"
    return "direct"


def is_ambiguous(text: str) -> bool:
    """Return whether a text has words of both a refusal and a request; `text_behavior` takes it for a refusal."""
    text = text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return bool(_REFUSAL.search(text)) and bool(_REQUEST.search(text) or any(map(_requests, _QUESTION.findall(text))))


def message_behavior(message: Message) -> Behavior:
    """Return what an assistant's message does. Text beside a call does not make it less of a call."""
    return "tool_call" if message.tool_calls else text_behavior(message.content)


def _requests(question: str) -> bool:
    return bool(_ASKS_FOR_VALUE.search(question)) or not _OFFER.search(question)
