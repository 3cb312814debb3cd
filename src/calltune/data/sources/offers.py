"""Tools that stand in the text of a conversation, in one model's format: they become the row's tools.

Read are Hermes' `<tools>` and `</tools>`, in the system's text or the first of the user's, and ToolACE's list of
"functions in JSON format". What explains that model's way to write calls is dropped with them and told, as it must not
be taught to another.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import replace

from calltune.calling.edits import Change, tell
from calltune.calling.strict_json import parse_literal
from calltune.data.sources.conversations import read_tools
from calltune.data.sources.turns import Turn
from calltune.errors import DataError
from calltune.types import Tool

_TOOLS = re.compile(r"<tools>((?:(?!<tools>).)*?)</tools>", re.DOTALL)
_LIST = re.compile(r"[^.\n]*functions? in JSON format[^\[\n]{0,100}\n?\s*(?=\[\s*\{)", re.IGNORECASE)
_ADVICE = (
    re.compile(
        r"Should you decide to return the function call\(s\)\..*?(?:NO other text MUST be included\.?|\Z)\s*", re.DOTALL
    ),
    re.compile(r"[^.\n]*put it in the format of \[func[^\n]*\n?", re.IGNORECASE),
)


def offered_in_text(turns: Sequence[Turn], tools: Sequence[Tool]) -> tuple[list[Turn], tuple[Tool, ...]]:
    """Return the turns without the texts that offer tools, and the row's tools, or those of the texts if it has none.

    Raises:
        DataError: a text begins to offer tools and they cannot be read.
    """
    kept, offered = list[Turn](), tuple(tools)
    first_user = next((turn for turn in turns if turn.role == "user"), None)
    for turn in turns:
        text, more = turn.text, tuple[Tool, ...]()
        if turn.role == "system" or turn is first_user:
            text, more = _without_offer(turn, is_read=not offered)
        offered = offered or more
        if text is turn.text or text == turn.text:
            kept.append(turn)
            continue
        tell(turn.place, "system", (Change("text_dropped", "replace", "/value", turn.text, text),))
        if text:
            kept.append(replace(turn, text=text))
    return kept, offered


def _without_offer(turn: Turn, *, is_read: bool) -> tuple[str, tuple[Tool, ...]]:
    """Return a turn's text without what offers tools in it, and these tools."""
    text = turn.text
    blocks = _TOOLS.findall(text) if "</tools>" in text else []
    blocks = [block for block in blocks if block.strip().startswith(("[", "{"))]
    if blocks:
        offered = (tool for block in blocks for tool in _block(block, f"{turn.place}: <tools>"))
        tools = tuple(offered) if is_read else ()
        return _around(turn, text), tools
    if is_read and turn.role == "system" and (match := _LIST.search(text)):
        return _listed(text, match, turn.place)
    return text, ()


def _around(turn: Turn, text: str) -> str:
    """Return what a text with Hermes' tools says besides."""
    if turn.role == "user":
        # The question stands behind the tools, or before them.
        head, _, rest = text.partition("<tools>")
        tail = rest.rpartition("</tools>")[2]
        tail = re.sub(r"[^\n]*<tool_call>.*</tool_call>[^\n]*", "", tail, flags=re.DOTALL)
        tail = re.sub(r"[^.\n]*\btool_call\b[^\n]*", "", tail)
        head = re.sub(r"[^.\n]*$", "", re.sub(r"You are a function calling AI model\.\s*", "", head))
        return f"{head.strip()}\n{tail.strip()}".strip()
    kept = re.split(r"# Tools\b|[^.\n]*<tools>", text, maxsplit=1)[0]
    return re.sub(r"^\s*You are a function calling AI model\.\s*$", "", kept).strip()


def _block(block: str, where: str) -> tuple[Tool, ...]:
    """Return the tools of one block, which is a JSON list, or holds one object on each line."""
    lines = [line for line in block.splitlines() if line.strip()]
    listed = parse_literal(block, where) if block.strip().startswith("[") else [parse_literal(x, where) for x in lines]
    return read_tools(listed, where)


def _listed(text: str, match: re.Match[str], place: str) -> tuple[str, tuple[Tool, ...]]:
    try:
        _, end = json.JSONDecoder().raw_decode(text, match.end())
    except (ValueError, RecursionError):
        raise DataError(f"{place}: its list of functions is not JSON") from None
    tools = read_tools(text[match.end() : end], f"{place}: functions")
    rest = text[end:].removeprefix(".")
    for advice in _ADVICE:
        rest = advice.sub("", rest)
    return f"{text[: match.start()].strip()}\n{rest.strip()}".strip(), tools
