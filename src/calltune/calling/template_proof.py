"""Proof that a template teaches what a row says: calls come back, tools stand there once, labels are the answer.

`prove_template` asks a model's template with conversations of our own; what it cannot do with any row is refused.
`Proof.row` writes one row exactly as `sft` and `dpo` hand it to TRL's trainers and says what is wrong with it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from calltune.calling.chat import Chat
from calltune.calling.differences import difference, what_changes
from calltune.calling.strict_json import shortened
from calltune.calling.thoughts import LEFT_OUT, have_thoughts, without_thought
from calltune.calling.token_counts import TokenCounts, any_of
from calltune.errors import ModelError, TemplateLimitError
from calltune.types import Example, Message, Preference, Tool, ToolCall

_TOOL = Tool(
    "probe_lookup",
    "Probe description 7391.",
    {"type": "object", "properties": {"probe_key": {"type": "string"}, "probe_more": {"type": "object"}}},
)
_OTHER_TOOL = Tool("probe_other", "Probe description 2846.", {"type": "object", "properties": {}})
_TOOLS = (_TOOL, _OTHER_TOOL)
_ARGUMENTS = {"probe_key": "Zürich \"5\" \\ {'a'}", "probe_more": {"n": [1, -2.5, True, None], "": {}}}
_PLAIN_ARGUMENTS = {"probe_key": "plain value 3055", "probe_more": {"n": [1, -2.5]}}
_QUESTION = Message("user", "Probe question 5128?")
_CALL = Message("assistant", "", (ToolCall("probe_lookup", _ARGUMENTS),))
_PLAIN_CALL = Message("assistant", "", (ToolCall("probe_lookup", _PLAIN_ARGUMENTS),))
_PAST_CALL = Message("assistant", "", (ToolCall("probe_lookup", {"probe_key": "past value 6604"}),))
_RESULT = Message("tool", "Probe result 9917.")
_TEXT = Message("assistant", "Probe answer 3350.")
_SYSTEM = Message("system", "Probe rules 1472.")
_SEVERAL = "several calls in one answer"


@dataclass(frozen=True, slots=True)
class Written:
    """A row as its trainer gets it; `num_answer_tokens` are those trained on, one number per answer."""

    prompt: str
    answers: tuple[str, ...]
    num_prompt_tokens: int
    num_answer_tokens: tuple[int, ...]


def prove_template(chat: Chat) -> tuple[str, ...]:
    """Write conversations of our own and read them back.

    Returns:
        What the template does otherwise than most, and what is done about it, a sentence each.

    Raises:
        ModelError: the format of calls is not known; tools, earlier calls or tool results are left out or written
            twice; an answer is not closed by a token, or is read back as another one; labels would not be the answer's
            tokens.
    """
    if chat.call_format is None:
        raise _unreadable(chat, chat.answer([_QUESTION], _TOOLS, _PAST_CALL))
    proof, call = Proof(chat), _CALL
    notes: list[str] = []
    if chat.parse(written_call := chat.answer([_QUESTION], _TOOLS, _CALL), _TOOLS).message != _CALL:
        call = _PLAIN_CALL
        if chat.parse(chat.answer([_QUESTION], _TOOLS, call), _TOOLS).message != call:
            raise _unreadable(chat, written_call)
        notes.append(
            "the chat template does not escape what it writes into a call, so that some values cannot be read back: "
            f"{shortened(chat.strip_end(written_call), 160)}; rows with such values are rejected one by one"
        )
    shapes: tuple[tuple[str, tuple[Message, ...]], ...] = (
        ("", (_QUESTION,)),
        ("after a system message", (_SYSTEM, _QUESTION)),
        ("after a call", (_QUESTION, _PAST_CALL, _RESULT)),
        ("in a second turn", (_QUESTION, _PAST_CALL, _RESULT, _TEXT, Message("user", "Probe question 4083?"))),
    )
    if chat.adds_end:
        notes.append(
            f"the chat template ends no answer; the end-of-sequence token {chat.ends[0]!r} is added to each, as TRL "
            "adds it"
        )
    elif len(chat.ends) > 1:
        first, *others = map(repr, chat.ends)
        notes.append(f"answers end with {' or '.join(others)}, not with the end-of-sequence token {first} alone")
    if chat.arguments_as_text:
        notes.append("the chat template takes a call's arguments as JSON text, not as an object; they are written so")
    several, takes_several = Message("assistant", "", call.tool_calls * 2), True
    for when, messages in shapes:
        try:
            prompt = chat.prompt(messages, _TOOLS)
        except TemplateLimitError:
            raise
        except ModelError as error:
            if len(messages) == 1:
                raise
            notes.append(_rejected(f"answers {when}", _own_words(chat, error)))
            continue
        _prove_prompt(chat, prompt, messages, when)
        kinds = [("answers in words", _TEXT), ("calls", call)]
        wrong = _wrong_answers(proof, messages, [*kinds, (_SEVERAL, several)] if takes_several else kinds)
        if not when and (first := next((wrong[what] for what, _ in kinds if what in wrong), None)):
            for _, answer in kinds:
                # What it says of itself needs no more words.
                chat.answer(messages, _TOOLS, answer)
            raise _refused(chat, f"fails its proof: {first}")
        takes_several &= _SEVERAL not in wrong
        if len(wrong) > 1 and set(wrong) >= {what for what, _ in kinds}:
            wrong = {"answers": next(iter(wrong.values()))}
        notes += [_rejected(f"{what}{when and ' ' + when}", why) for what, why in wrong.items()]
        beginning = chat.answered_prompt(messages, _TOOLS)
        if beginning is not None and beginning != prompt:
            change = what_changes(prompt, beginning, messages)
            notes.append(
                f"the chat template changes the prompt once it is answered: {change}; "
                "answers are trained after the prompt as it is served"
            )
    return tuple(dict.fromkeys(notes))


def _prove_prompt(chat: Chat, prompt: str, messages: Sequence[Message], when: str) -> None:
    when = f" {when}" if when else ""
    for tool in _TOOLS:
        if (times := prompt.count(tool.description)) != 1:
            raise _refused(
                chat, f"leaves out the tools{when}" if not times else f"writes the tools {times} times{when}"
            )
    for message in messages:
        marks = [message.content, *(call.arguments["probe_key"] for call in message.tool_calls)]
        for mark in marks:
            if mark not in prompt:
                what = "an earlier call" if message.tool_calls else f"a message of the {message.role}"
                raise _refused(chat, f"leaves out {what}{when}")


def _unreadable(chat: Chat, written: str) -> ModelError:
    return _refused(chat, f"writes tool calls in a way that calltune cannot read back: {shortened(written, 160)}")


def _wrong_answers(
    proof: "Proof", messages: Sequence[Message], answers: Sequence[tuple[str, Message]]
) -> dict[str, str]:
    """Return which answers could not be taught after these messages, by their kind, and why."""
    written = {what: proof.conversation(messages, _TOOLS, (answer,)) for what, answer in answers}
    return {what: why for what, why in written.items() if isinstance(why, str)}


def _rejected(rows: str, why: str) -> str:
    return f"the chat template does not write {rows} so that they can be taught, and rows with them are rejected: {why}"


def _own_words(chat: Chat, error: ModelError) -> str:
    return str(error).removeprefix(f"model '{chat.name}': ")


def _refused(chat: Chat, why: str) -> ModelError:
    return ModelError(f"model '{chat.name}': its chat template {why}")


class Proof:
    """Writes rows for one model and counts their tokens."""

    def __init__(self, chat: Chat, thinking: str = "off") -> None:
        """Take the model's chat, and what `[chat] thinking` says."""
        self._chat = chat
        self._is_both = thinking == "both"
        self._needs_thoughts = thinking != "off" and not chat.has_switch
        self._tokens = TokenCounts(chat.tokenizer)
        special = [token.content for token in chat.tokenizer.added_tokens_decoder.values() if token.special]
        self._control = any_of([*special, *chat.ends])

    def row(self, row: Example | Preference) -> Written | str:
        """The row as its trainer gets it, or, as a sentence, why it would not teach what it says."""
        if self._needs_thoughts and not have_thoughts(row.answers):
            return f"its answer has no thought; {LEFT_OUT}"
        texts = [text for message in (*row.prompt, *row.answers) for text in (message.content, message.thought)]
        if found := next((match for text in texts if (match := self._control.search(text))), None):
            return f"its text holds {found[0]!r}, which this model reads as control, not as text"
        if any("think>" in message.thought for message in (*row.prompt, *row.answers)):
            return "a thought holds the tag that begins or ends one"
        if self._is_both and have_thoughts(row.answers):
            plain = without_thought(row)
            written = self.conversation(plain.prompt, plain.tools, plain.answers)
            if isinstance(written, str):
                return f"with thinking off, {written}"
        return self.conversation(row.prompt, row.tools, row.answers)

    def conversation(
        self, messages: Sequence[Message], tools: Sequence[Tool], answers: Sequence[Message]
    ) -> Written | str:
        """A prompt and its answers; of a chosen and a rejected one only the first must be read back as it was."""
        try:
            chat = self._chat.for_answers(answers)
            prompt, texts = chat.prompt_and_answers(messages, tools, answers)
        except TemplateLimitError:
            # The next rows would take as long.
            raise
        except ModelError as error:
            return _own_words(self._chat, error)
        other = next((text for text in texts if not text.endswith(self._chat.ends)), None)
        if other is not None:
            ends = " or ".join(map(repr, self._chat.ends))
            return f"its answer does not end with the end-of-sequence token {ends} but with {other[-20:]!r}"
        if any(message.role == "system" and message.content.strip() not in prompt for message in messages):
            return "its chat template leaves out the message of the system"
        if wrong := self._read_back(chat, answers[0], texts[0], tools):
            return wrong
        counts = self._tokens.counts(prompt, texts)
        if counts is None:
            return "its prompt's last and its answer's first characters become one token, so labels would be off"
        return Written(prompt, tuple(texts), counts[0], tuple(counts[1]))

    def _read_back(self, chat: Chat, answer: Message, text: str, tools: Sequence[Tool]) -> str:
        parsed = chat.parse(text, tools)
        if parsed.message is None:
            return f"its answer, once written, is a malformed call: {parsed.reason}"
        if parsed.message.tool_calls != answer.tool_calls:
            return f"its calls are read back as other calls: {_differs(_spelled(answer), _spelled(parsed.message))}"
        if parsed.message.content != (said := answer.content.strip()):
            beside = " beside the call" * bool(answer.tool_calls)
            return (
                f"the text of its answer is read back as another text{beside}: {_differs(said, parsed.message.content)}"
            )
        if parsed.message.thought != answer.thought:
            return "its thought is read back as another one"
        return ""

    def pieces(self, prompt: str, answer: str) -> list[tuple[str, bool]]:
        """The tokens of one answer after its prompt as text: first those without a label, then those trained on."""
        tokenizer = self._chat.tokenizer
        ids, num_prompt = tokenizer(prompt + answer).input_ids, len(tokenizer(prompt).input_ids)
        return [(str(tokenizer.decode(ids[:num_prompt])), False), (str(tokenizer.decode(ids[num_prompt:])), True)]


def _differs(written: str, read: str) -> str:
    before, old, new = difference(written, read)
    return f"behind {before} stands {old} and {new} is read"


def _spelled(message: Message) -> str:
    """Return a message's calls as one text."""
    calls = [[call.name, dict(call.arguments)] for call in message.tool_calls]
    return json.dumps(calls, ensure_ascii=False, allow_nan=False)
