"""A model's chat template as an Ollama template, with its tools, read off what the chat template writes.

Ollama renders Go's `text/template`, which knows no Jinja. So a few conversations of marked words are written by the
model's own template, and the text before, between and behind the words becomes the Go template. Whether the two write
one text is proved on real conversations afterwards, by Go itself.

One thing no Ollama template can do: spell JSON as the model was taught. Ollama hands tools and arguments over as
compact JSON, and keeps of a tool's schema the keys that it has fields for (`ollama_json`). So what that does to answers
is measured.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from calltune.calling.layout import tool_dict
from calltune.calling.ollama_json import values_of
from calltune.errors import ModelError, TemplateLimitError
from calltune.types import Message, Tool, ToolCall

if TYPE_CHECKING:
    # With transformers behind it.
    from calltune.calling.chat import Chat

_SYSTEM, _ASKED, _SAID, _GOT, _LATER = "markedsystem", "markedquestion", "markedanswer", "markedresult", "markedlater"
_TOOLS = tuple(
    Tool(name, "Marked.", {"type": "object", "properties": {"markedkey": {"type": "string"}}})
    for name in ("markedtool", "markedother")
)
_CALLS = tuple(ToolCall(tool.name, {"markedkey": "markedvalue"}) for tool in _TOOLS)
_QUESTION, _NEXT = Message("user", _ASKED), Message("user", _LATER)
_CALLED, _TEXT, _RESULT = Message("assistant", "", _CALLS[:1]), Message("assistant", _SAID), Message("tool", _GOT)
_SPELLINGS: tuple[dict[str, Any], ...] = ({}, {"indent": 4}, {"indent": 2}, {"separators": (",", ":")})
_READ_BY_OLLAMA = ("hermes", "json")
"""Formats of calls that Ollama's parser finds: JSON with a name and arguments, perhaps behind a tag."""


@dataclass(frozen=True, slots=True)
class OllamaTemplate:
    """`text` is the Go template; the rest says how the model's own template spells what Ollama hands over as JSON."""

    text: str
    spelling: Mapping[str, Any]
    around: tuple[str, str]
    """What a tool's text has before and behind the text of its function."""

    def values(self, messages: Sequence[Message], tools: Sequence[Tool]) -> dict[str, Any]:
        """What the template is rendered with to write the model's own text: JSON is spelled as the model was taught."""
        before, behind = map(len, self.around)
        whole = [_dumps(_as_written(tool, is_whole=before > 0), self.spelling) for tool in tools]
        return values_of(messages, [text[before : len(text) - behind] for text in whole], _dumps)


def modelfile(template: OllamaTemplate, weights: Sequence[str], ends: Sequence[str], context: int) -> str:
    """The text of a `Modelfile`.

    Args:
        weights: names of GGUF files; the last is served, and the others stand there to take its place.
        ends: the tokens that may end an answer.
        context: how many tokens of a conversation are kept.
    """
    lines = [
        f"FROM ./{weights[-1]}",
        *(f"# FROM ./{other}" for other in weights[:-1]),
        f'TEMPLATE """{template.text}"""',
        *(f"PARAMETER stop {_dumps(end)}" for end in ends),
        "PARAMETER temperature 0",
        f"PARAMETER num_ctx {context}",
    ]
    return "\n".join(lines) + "\n"


def ollama_template(chat: "Chat") -> OllamaTemplate:
    """Return the model's chat template as Ollama takes one.

    Raises:
        ModelError: its calls are in a format that Ollama does not read, or its template cannot be taken apart.
    """
    if chat.call_format not in _READ_BY_OLLAMA:
        raise ModelError(
            f"Ollama reads no calls as this model's template writes them ({chat.call_format or 'unknown'})"
        )
    talk = chat.prompt([_QUESTION, _TEXT, _NEXT], _TOOLS)
    answered = _between(talk, _ASKED, _SAID)
    history = chat.prompt([_QUESTION, _CALLED, _RESULT, _TEXT, _NEXT], _TOOLS)
    calls, to_result = _calls(chat, answered, _between(history, _ASKED, _GOT))
    heads = {(system, tools): _head(chat, system, tools) for system in (True, False) for tools in (True, False)}
    listed, spelling, around = _listed_tools(heads[False, True])
    markers = {_SYSTEM: "{{ .System }}", **listed}
    with_tools, without = (
        _if(".System", *(_go(heads[system, tools], markers) for system in (True, False))) for tools in (True, False)
    )
    asked_after_result = chat.prompt([_QUESTION, _CALLED, _RESULT, _NEXT], _TOOLS)
    question = (
        '{{ if eq $before "assistant" }}' + _go(_between(talk, _SAID, _LATER)) + "{{ else if " + _AFTER_RESULT + " }}"
    ) + (_go(_between(asked_after_result, _GOT, _LATER)) + "{{ end }}{{ .Content }}")
    answer = _if(_AFTER_RESULT, _go(_between(history, _GOT, _SAID)), _go(answered)) + calls
    next_result = _next_result(chat)
    result = _if(_AFTER_RESULT, _go(next_result or to_result), _go(to_result)) + "{{ .Content }}"
    closing = _if(
        _AFTER_RESULT,
        _go(_behind(chat.prompt([_QUESTION, _CALLED, _RESULT], _TOOLS), _GOT)),
        _go(_behind(talk, _LATER)),
    )
    turns = (
        f'{{{{ if eq .Role "user" }}}}{question}{{{{ else if eq .Role "assistant" }}}}{answer}'
        f'{{{{ else if eq .Role "tool" }}}}{result}{{{{ end }}}}'
        '{{ if ne .Role "system" }}{{ $before = .Role }}{{ end }}'
    )
    head = '{{ $before := "" }}' + _if(".Tools", with_tools, without)
    text = f"{head}{{{{ range $number, $turn := .Messages }}}}{turns}{{{{ end }}}}{closing}"
    return OllamaTemplate(text, spelling, around)


_AFTER_RESULT = 'eq $before "tool"'


def _if(condition: str, then: str, otherwise: str) -> str:
    return then if then == otherwise else f"{{{{ if {condition} }}}}{then}{{{{ else }}}}{otherwise}{{{{ end }}}}"


def _go(text: str, actions: Mapping[str, str] | None = None) -> str:
    """Text as a Go template writes it; an action stands where its mark does."""
    for mark, action in (actions or {}).items():
        if mark in text:
            before, _, behind = text.partition(mark)
            return _go(before, actions) + action + _go(behind, actions)
    # Go would take two braces for an action, and a Modelfile three quotation marks for the template's end.
    if "{{" in text or text.endswith("{") or '"""' in text:
        return "{{ " + _dumps(text) + " }}"
    return text


def _head(chat: "Chat", with_system: bool, with_tools: bool) -> str:
    """What is written before the first question."""
    messages = [*([Message("system", _SYSTEM)] if with_system else []), _QUESTION]
    text = chat.prompt(messages, _TOOLS if with_tools else ())
    head = text[: _place(text, _ASKED)]
    if with_system:
        _place(head, _SYSTEM)
    return head


def _listed_tools(head: str) -> tuple[dict[str, str], dict[str, Any], tuple[str, str]]:
    """The text of the two tools with the action that writes it, how it spells JSON, and what is around a function."""
    spans = [_object(head, tool.name) for tool in _TOOLS]
    texts = [head[start:stop] for start, stop in spans]
    separator = head[spans[0][1] : spans[1][0]]
    for spelling in _SPELLINGS:
        for is_whole in (True, False):
            if texts != [_dumps(_as_written(tool, is_whole=is_whole), spelling) for tool in _TOOLS]:
                continue
            start, stop = _function_span(texts[0]) if is_whole else (0, len(texts[0]))
            around = texts[0][:start], texts[0][stop:]
            action = (
                f"{{{{ range $number, $tool := .Tools }}}}{{{{ if $number }}}}{_go(separator)}{{{{ end }}}}"
                f"{_go(around[0])}{{{{ .Function }}}}{_go(around[1])}{{{{ end }}}}"
            )
            return {head[spans[0][0] : spans[1][1]]: action}, spelling, around
    raise ModelError("its tools are not written as the JSON that they are given as")


def _function_span(text: str) -> tuple[int, int]:
    start = text.index('"function":') + len('"function":')
    start += len(text[start:]) - len(text[start:].lstrip())
    return start, json.JSONDecoder().raw_decode(text, start)[1]


def _calls(chat: "Chat", answered: str, written: str) -> tuple[str, str]:
    """The actions that write an answer, and what stands between a call and its result.

    Args:
        answered: what stands before an answer.
        written: what stands between a question and the result of one call.
    """
    one = _answer(chat, _CALLED)
    if not written.startswith(answered + one):
        raise ModelError("it writes a call otherwise once it is answered")
    start, stop = _object(one, _CALLS[0].name)
    opening, closing = one[:start], one[stop:]
    marks = {_dumps(_CALLS[0].arguments): "{{ .Function.Arguments }}", _CALLS[0].name: "{{ .Function.Name }}"}
    if not all(mark in one[start:stop] for mark in marks):
        raise ModelError("it writes a call's arguments in another way than as an object")
    call, separator = _go(one[start:stop], marks), _separator(chat)
    # Ollama takes the first text within this condition for the tag before a call, so no other text may come first.
    if separator and opening.strip():
        call = f"{{{{ if $place }}}}{_go(separator)}{{{{ end }}}}{call}"
    calls = f"{{{{ range $place, $call := .ToolCalls }}}}{call}{{{{ end }}}}"
    calls = f"{{{{ if .ToolCalls }}}}{_go(opening)}{calls}{_go(closing)}{{{{ end }}}}"
    both = _unless_refused(lambda: _answer(chat, Message("assistant", _SAID, _CALLS[:1]))) or ""
    if both.startswith(_SAID) and both.endswith(one):
        joint = _go(both[len(_SAID) : len(both) - len(one)])
        joint = f"{{{{ if .Content }}}}{{{{ with .ToolCalls }}}}{joint}{{{{ end }}}}{{{{ end }}}}" if joint else ""
        content = "{{ .Content }}" + joint
    else:
        content = "{{ with .ToolCalls }}{{ else }}{{ $turn.Content }}{{ end }}"
    return content + calls, written[len(answered + one) :]


def _separator(chat: "Chat") -> str | None:
    """What stands between two calls of one answer; None for a model that makes one at a time."""
    two = _unless_refused(lambda: _answer(chat, Message("assistant", "", _CALLS)))
    if two is None or any(call.name not in two for call in _CALLS):
        return None
    (_, first_ends), (second_begins, _) = (_object(two, call.name) for call in _CALLS)
    return two[first_ends:second_begins]


def _next_result(chat: "Chat") -> str | None:
    """What stands between the results of two calls; None for a model that makes one at a time."""
    messages = [_QUESTION, Message("assistant", "", _CALLS), _RESULT, Message("tool", _LATER)]
    text = _unless_refused(lambda: chat.prompt(messages, _TOOLS))
    return None if text is None else _between(text, _GOT, _LATER)


def _answer(chat: "Chat", message: Message) -> str:
    return chat.strip_end(chat.answer([_QUESTION], _TOOLS, message))


def _unless_refused(write: Callable[[], str]) -> str | None:
    try:
        return write()
    except TemplateLimitError:
        raise
    except ModelError:
        return None


def _object(text: str, name: str) -> tuple[int, int]:
    """Where the outermost JSON object that holds this name begins and ends."""
    place = text.find(name)
    start = text.find("{")
    while 0 <= start < place:
        try:
            _, stop = json.JSONDecoder().raw_decode(text, start)
        except ValueError:
            stop = start
        if stop > place:
            return start, stop
        start = text.find("{", start + 1)
    raise ModelError("its tools or calls are not written as JSON")


def _place(text: str, mark: str) -> int:
    if text.count(mark) != 1:
        raise ModelError(f"its template writes a message's content {text.count(mark)} times")
    return text.index(mark)


def _between(text: str, one: str, other: str) -> str:
    start, stop = _place(text, one) + len(one), _place(text, other)
    if stop < start:
        raise ModelError("its template writes messages in another order")
    return text[start:stop]


def _behind(text: str, mark: str) -> str:
    return text[_place(text, mark) + len(mark) :]


def _as_written(tool: Tool, *, is_whole: bool) -> dict[str, Any]:
    return tool_dict(tool) if is_whole else tool_dict(tool)["function"]


def _dumps(value: Any, spelling: Mapping[str, Any] | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, **(spelling or {}))
