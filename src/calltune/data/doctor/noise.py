"""What a record from production itself tells against its answer: failed calls, retries, corrections, loops.

Words are read in English. `docs/doctor.md` says what becomes of each finding; `results` looks at what tools gave back,
and `endings` at texts that were cut.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from calltune.calling.strict_json import shortened
from calltune.data.doctor import Finding
from calltune.data.doctor.endings import cut_off
from calltune.data.doctor.results import Exchange, exchanges, swapped
from calltune.types import Example, Message, Preference, ToolCall

_ERROR_TEXT = re.compile(
    r"""^\W*(?:
    (?:[a-z_.]*(?:error|exception))\s*(?:[:(\[{!]|$|\d|occurred|while|when|executing|calling|in\b|-\s)
    | an?\s(?:[a-z]+\s){0,3}(?:error|exception)\s(?:occurred|was\s|has\s|happened)
    | traceback\s\(most\srecent
    | (?:http|status)(?:[\s/:]|error|code|status){0,3}\s*[45]\d\d\b
    | [45]\d\d\b[\s:-]*(?:bad|unauthorized|forbidden|not\sfound|error|internal|service|too\smany|conflict|gateway)
    | (?:the\s)?(?:tool|function|request|call|api|server|connection|operation|query|command|execution)\b[^.\n]{0,60}?
      \b(?:failed|timed\sout|was\srefused|not\sfound|does\snot\sexist|is\snot\savailable|unavailable)\b
    | failed\sto\s | could\snot\s(?:connect|reach|execute|parse|find\sthe\s(?:tool|function))
    | (?:invalid|missing|unknown|unexpected)\s(?:required\s)?
      (?:argument|parameter|request|input|tool|function|value\sfor)
    | (?:permission|access)\sdenied | time(?:d\s)?out\b | no\ssuch\s(?:tool|function)
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_ERROR_KEYS = ("error", "errors", "exception", "traceback", "error_message", "errorMessage", "errorCode", "error_code")
_NO_ERRORS = ("", "none", "null", "no", "false", "ok", "0")
_STATUS_KEYS = ("status", "state", "outcome", "result", "type")
_CODE_KEYS = ("status_code", "statusCode", "http_status", "httpStatus", "code", "status")
_WORDS = ("message", "detail", "details", "reason", "error", "msg", "description")
_LONGEST = 20_000
"""Characters of a result beyond which it is taken for content: errors are short."""

_CORRECTION = re.compile(
    r"""\b(?:
    (?:that|this|it|you|the\s\w+)(?:'?s|\sis|\swas|\sare|'re)?\s(?:still\s|all\s|just\s|completely\s|also\s)?
      (?:wrong\b|incorrect\b|mistaken\b|not\s(?:right|correct|true|what\si\b|the\s\w+\si\s(?:asked|wanted|meant|ordered)))
    | (?:that|this|it)\s?(?:isn|wasn)'?t\s(?:right|correct|true|what\si\b)
    | i\s(?:meant|said|asked\s(?:you\s)?(?:for|to|about))\b(?!\sto\s(?:say|add|mention|ask|order|tell)\b)
    | i\s(?:didn'?t|did\snot|never)\s(?:ask|say|mean|order|want|request)\b
    | you\s(?:misunderstood|got\s(?:it|that|this|the\s\w+|my\s\w+)\swrong|made\sa\smistake|misread|misheard)
    | (?:not|isn't)\swhat\si\s(?:asked|wanted|meant|said|ordered|needed)
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_WRONG = re.compile(r"^\W*(?:no|nope|sorry|hey|um+|wait)?\W*(?:that'?s\s)?(?:the\s)?wrong\b", re.IGNORECASE)
_DENIAL = re.compile(
    r"^\W*(?:no|nope|nah|incorrect)\b\W*(?!thanks|thank|problem|worries|need\b|more\b|rush|"
    r"that'?s (?:all|it|fine|ok)|"
    r"that is (?:all|it)|that will|that would|that'll|it'?s (?:fine|ok|all)|i'?m (?:good|fine|ok|all)|just\b|"
    r"nothing|not?\b|way\b|doubt|idea|one\b|kidding|wonder|matter)\w",
    re.IGNORECASE,
)
_ASKING = re.compile(r"\?|\b(?:confirm|check|verify)\b", re.IGNORECASE)
_SPEECH = 400
"""Characters of the user's turn that are read: a correction comes first."""


def noise(row: Example | Preference) -> tuple[list[tuple[Finding, str]], tuple[Exchange, ...]]:
    """Return what tells against a row's right answer, and all calls with their results that its record shows."""
    answer, after = row.answers[0], row.after if isinstance(row, Example) else ()
    offered = {tool.name for tool in row.tools}
    problems = list[tuple[Finding, str]]()
    if foreign := [call.name for call in answer.tool_calls if call.name not in offered]:
        problems.append(("foreign_tool", _foreign(foreign[0], len(offered))))
    if failed := failed_calls(answer, after):
        problems.append(_failed(failed, after))
    before = _since_the_user(row.prompt)
    if repeated := _repeated(before, answer):
        problems.append(("repeated_call", repeated))
    if said := _corrected(before, answer, after):
        problems.append(("corrected_answer", f"the user's next turn: {shortened(said)}"))
    if not answer.tool_calls and (cut := cut_off(answer.content)):
        problems.append(("cut_answer", cut))
    shown = exchanges((*row.prompt, answer, *after))
    if crossed := swapped(shown):
        problems.append(("swapped_result", crossed))
    return problems, shown


def _foreign(name: str, num_offered: int) -> str:
    offer = f"the {num_offered} tools that are offered have another name" if num_offered else "the row offers no tools"
    return f"it calls {shortened(name)}, but {offer}"


def failed_calls(answer: Message, after: Sequence[Message]) -> list[tuple[ToolCall, str]]:
    """Return the calls of an answer whose results, right behind it, are errors, each with its result."""
    results = []
    for message in after:
        if message.role != "tool":
            break
        results.append(message.content)
    return [(call, text) for call, text in zip(answer.tool_calls, results, strict=False) if is_error(text)]


def _failed(failed: Sequence[tuple[ToolCall, str]], after: Sequence[Message]) -> tuple[Finding, str]:
    call, result = failed[0]
    names = {call.name for call, _ in failed}
    later = (message for message in after if message.role == "assistant")
    told = f"the result of {shortened(call.name)} is {shortened(' '.join(result.split()))}"
    if any(again.name in names for again in next(later, Message("assistant")).tool_calls):
        return "retried_call", f"{told}, and the next answer calls it again"
    return "failed_call", told


def is_error(text: str) -> bool:
    """Return whether a tool's result says that the call failed."""
    if len(text) > _LONGEST:
        return False
    text = text.strip()
    if text[:1] in ("{", "["):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return False
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        return _is_error_value(value) if isinstance(value, dict) else False
    return bool(_ERROR_TEXT.match(text.strip("\"' ")))


def _is_error_value(value: Mapping[str, Any]) -> bool:
    if any(value.get(key) is True for key in ("is_error", "isError")):
        return True
    if any(str(value[key]).casefold() == "false" for key in ("success", "ok", "succeeded", "Success") if key in value):
        return True
    if any(_is_told(value[key]) for key in _ERROR_KEYS if key in value):
        return True
    has_words = any(isinstance(value.get(key), str) and value[key] for key in _WORDS)
    for key in _STATUS_KEYS:
        said = str(value.get(key)).casefold()
        # A job that failed is an answer; a call that failed says why and hardly anything else.
        if said in ("error", "errored") or (said in ("failed", "failure", "fail") and has_words and len(value) <= 3):
            return True
    for key in _CODE_KEYS:
        code = value.get(key)
        code = int(code) if isinstance(code, str) and re.fullmatch(r"[45]\d\d", code) else code
        if isinstance(code, int) and 400 <= code < 600 and (has_words or key not in ("code", "status")):
            return True
    if len(value) == 1:
        ((key, words),) = value.items()
        return key in ("message", "detail", "msg", "text", "content", "output", "result") and (
            isinstance(words, str) and bool(_ERROR_TEXT.match(words))
        )
    return False


def _is_told(value: Any) -> bool:
    """Return whether a value under a key such as `error` is one: a measured error is a number, and no failure."""
    if isinstance(value, str):
        return value.strip().casefold() not in _NO_ERRORS
    return value is True or (isinstance(value, list | dict) and bool(value))


def _since_the_user(prompt: Sequence[Message]) -> Sequence[Message]:
    """Return the messages behind the user's last turn."""
    last = max((number for number, message in enumerate(prompt) if message.role == "user"), default=-1)
    return prompt[last + 1 :]


def _repeated(before: Sequence[Message], answer: Message) -> str:
    """Return which call of an answer was made before in the same turn of the user, or an empty string."""
    earlier = [call for message in before for call in message.tool_calls]
    for number, call in enumerate(answer.tool_calls):
        if call in earlier:
            return f"{shortened(call.name)} was called with the same arguments before, in the same turn of the user"
        if call in answer.tool_calls[:number]:
            return f"{shortened(call.name)} is called twice at once with the same arguments"
    return ""


def _corrected(before: Sequence[Message], answer: Message, after: Sequence[Message]) -> str:
    """Return the user's next turn, if it says that what was done since the turn before is wrong."""
    if not after or after[-1].role != "user":
        return ""
    said = after[-1].content[:_SPEECH].strip().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    spoken = [message for message in (answer, *after) if message.role == "assistant"]
    if _CORRECTION.search(said) or _WRONG.match(said):
        return said
    # Behind a question, no is an answer to it.
    if not _ASKING.search(spoken[-1].content) and _DENIAL.match(said):
        return said
    return said if _denied_value(said, (*before, *spoken)) else ""


def _denied_value(said: str, spoken: Sequence[Message]) -> bool:
    """Return whether the user says "not X" of a value that a call had."""
    folded = said.casefold()
    if "not " not in folded and "instead of " not in folded:
        return False
    values = {text for message in spoken for call in message.tool_calls for text in _texts(call.arguments)}
    return any(
        re.search(rf"\b(?:not|instead of) (?:a |an |the |for |at |in |on |to )?{re.escape(value)}\b", folded)
        for value in values
        if len(value) < 60
    )


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for inner in value.values() for text in _texts(inner)]
    if isinstance(value, list | tuple):
        return [text for inner in value for text in _texts(inner)]
    return [] if isinstance(value, bool) or value is None else [str(value).casefold()]
