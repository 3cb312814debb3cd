"""Messages to model text and back, through the model's own chat template and call format.

Training and evaluation both take their text from here, so a model is asked exactly as it was taught. Text is rendered
once, as strings; a begin-of-sequence token that the tokenizer adds by itself is left out of them, so tokenizing
`prompt + answer` never doubles it.

Some templates write a message otherwise when it is the last one, such as Hermes 3's a tool's result, and so write the
prompt otherwise once it is answered. What is served is the prompt, so the prompt is what an answer is taught after.

Most templates end every answer with the end-of-sequence token. Some end a call with another token than a text (Gemma 4,
gpt-oss), and some end no answer at all (GLM 4.5), so that the end-of-sequence token is added, as TRL adds it.
"""

import json
from collections.abc import Sequence
from copy import copy
from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from calltune.calling.calls import CallFormat, detect_format, parse_answer
from calltune.calling.differences import num_common, what_changes
from calltune.calling.layout import TEMPLATE_KEYS, THINKING_KEYS, ThoughtLayout, message_dicts, tool_dict
from calltune.calling.parsed import ENDLESS_THOUGHT, ParsedAnswer, thought_in, without_thoughts
from calltune.calling.rendering import render
from calltune.calling.thoughts import have_thoughts, thought_fault
from calltune.errors import ModelError, TemplateLimitError
from calltune.types import Message, Tool, ToolCall

_PROBE_TOOL = Tool(
    "probe_tool",
    "A probe.",
    {"type": "object", "properties": {"probe_key": {"type": "string"}}, "required": ["probe_key"]},
)
_PROBE_QUESTION = Message("user", "probe question")
_PROBE_CALL = Message("assistant", "", (ToolCall("probe_tool", {"probe_key": "probe value"}),))
_PROBE_ANSWERS = (Message("assistant", "One probe."), Message("assistant", "Another probe."))


class Chat:
    """One model's way to write a conversation."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, name: str = "this model") -> None:
        """Probe the template.

        `ends` are the tokens that may end an answer, the end-of-sequence token first; `adds_end` says that the template
        ends no answer, so that the first of them is added.

        Raises:
            ModelError: there is no chat template, or it leaves out tools or tool calls.
            TemplateLimitError: it takes more time, memory or text than a conversation can need.
        """
        self.tokenizer = tokenizer
        self.name = name
        self.arguments_as_text = False
        self.thinks = False
        self._opens_thought = False
        self._thoughts: ThoughtLayout | None = None
        self._modes: dict[bool, Chat] = {False: self}
        if not tokenizer.chat_template:
            raise ModelError(f"model '{name}': its tokenizer has no chat template; name one as 'chat_template'")
        if not isinstance(tokenizer.eos_token, str):
            raise ModelError(f"model '{name}': its tokenizer has no end-of-sequence token")
        self.ends: tuple[str, ...] = (tokenizer.eos_token,)
        self.adds_end = False
        bos = tokenizer.bos_token
        adds_bos = isinstance(bos, str) and tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]
        self._automatic_bos = str(bos) if adds_bos else ""
        if "probe_tool" not in self.prompt([_PROBE_QUESTION], [_PROBE_TOOL]):
            raise ModelError(
                f"model '{name}': its chat template leaves out the tools; chat_template = \"hermes\" writes them, "
                "between the marks of turns that it has"
            )
        self._learn_end_of_texts()
        call = self._written_call()
        if "probe_tool" not in call or "probe value" not in call:
            raise ModelError(
                f"model '{name}': its chat template leaves out tool calls; "
                'chat_template = "hermes" writes them, between the marks of turns that it has'
            )
        self.call_format: CallFormat | None = detect_format(self.strip_end(call))

    def _learn_end_of_texts(self) -> None:
        """Find the token that ends a text, or that none does."""
        answer = _PROBE_ANSWERS[0]
        whole = self._render([_PROBE_QUESTION, answer], [_PROBE_TOOL], add_generation_prompt=False)
        behind = whole.rpartition(answer.content)[2]
        self.adds_end = not behind.strip()
        if end := self._token_at_the_end(behind):
            self._learn_end(end)

    def _learn_end_of_calls(self, call: str) -> None:
        """Find the token that ends an answer with a call, if it is another one than ends a text.

        A token that closes each of two calls ends none of the answers.
        """
        end = self._token_at_the_end(call)
        if self.adds_end or end is None or end in self.ends:
            return
        message = Message("assistant", "", _PROBE_CALL.tool_calls * 2)
        try:
            two = self.answer([_PROBE_QUESTION], [_PROBE_TOOL], message)
        except TemplateLimitError:
            raise
        except ModelError:
            # It takes one call at a time.
            two = call
        if two.count(end) == 1:
            self._learn_end(end)

    def _token_at_the_end(self, text: str) -> str | None:
        """Return the added token with which a text ends, white space aside."""
        tokens = {token.content for token in self.tokenizer.added_tokens_decoder.values()} | set(self.ends)
        text = text.rstrip()
        return max((token for token in tokens if token.strip() and text.endswith(token)), key=len, default=None)

    def _learn_end(self, end: str) -> None:
        self.ends = tuple(dict.fromkeys([*self.ends, end]))

    def _written_call(self) -> str:
        """Write a call as the template does, and find out which of two shapes of arguments it wants.

        Arguments are an object for most templates, and JSON text for those that follow OpenAI's interface to the letter
        (functionary, DeepSeek). An object is kept where a call can be read back from it, or from neither.

        Raises:
            ModelError: the template takes neither.
        """
        written: dict[bool, str] = {}
        refusals: list[ModelError] = []
        for as_text in (False, True):
            self.arguments_as_text = as_text
            try:
                written[as_text] = self.answer([_PROBE_QUESTION], [_PROBE_TOOL], _PROBE_CALL)
            except TemplateLimitError:
                raise
            except ModelError as error:
                refusals.append(error)
                continue
            self._learn_end_of_calls(written[as_text])
            call_format = detect_format(self.strip_end(written[as_text]))
            parsed = call_format and parse_answer(self.strip_end(written[as_text]), call_format, [_PROBE_TOOL])
            if parsed and parsed.message == _PROBE_CALL:
                return written[as_text]
        if not written:
            as_object, as_json = (str(error).removeprefix(f"model '{self.name}': ") for error in refusals)
            if as_object == as_json:
                raise refusals[0]
            shapes = f"with its arguments as an object, {as_object}; with them as JSON text, {as_json}"
            raise ModelError(f"model '{self.name}': a call cannot be written: {shapes}")
        self.arguments_as_text = min(written)
        return written[self.arguments_as_text]

    def in_mode(self, thinking: bool) -> "Chat":
        """The same model's way to write a conversation with thinking on or off; this one is off until it is asked.

        Raises:
            ModelError: its template cannot write thoughts so that they can be taken off again.
        """
        if thinking not in self._modes:
            self._modes[True] = self._thinking()
        return self._modes[thinking]

    def for_answers(self, answers: Sequence[Message]) -> "Chat":
        """The mode in which these answers are taught: with thinking on where each has a thought."""
        return self.in_mode(have_thoughts(answers))

    def _thinking(self) -> "Chat":
        fault = "its chat template knows no thoughts in <think> tags; name one that does as 'chat_template'"
        # A template that knows nothing of thoughts would write them within a content all the same.
        knows = "think>" in str(self.tokenizer.chat_template)
        layouts: tuple[ThoughtLayout, ...] = ("reasoning_content", "content") if knows else ()
        for layout in layouts:
            chat = copy(self)
            chat.thinks, chat._thoughts = True, layout
            chat._opens_thought = chat.prompt([_PROBE_QUESTION], [_PROBE_TOOL]).rstrip().endswith("<think>")
            if not (fault := thought_fault(chat)):
                return chat
        raise ModelError(f"model '{self.name}': it cannot be taught to think: {fault}")

    @property
    def has_switch(self) -> bool:
        """Whether the template's prompt says whether the model is to think."""
        off, on = (self.in_mode(thinks).prompt([_PROBE_QUESTION], [_PROBE_TOOL]) for thinks in (False, True))
        return off != on

    def is_in_thought(self, text: str) -> bool:
        """Whether an answer that was cut off had not ended its thought; one that was not asked to think has none."""
        is_begun = "<think>" in text.rpartition("</think>")[2]
        return self.thinks and (is_begun or (self._opens_thought and "</think>" not in text))

    def prompt(self, messages: Sequence[Message], tools: Sequence[Tool]) -> str:
        """The text up to where the assistant's answer begins, tools included."""
        return self._render(messages, tools, add_generation_prompt=True)

    def answer(self, messages: Sequence[Message], tools: Sequence[Tool], message: Message) -> str:
        """The text that follows `prompt(messages, tools)` when the assistant answers with `message`.

        It ends with one of `ends`: the one that the template writes, or the first where it ends no answer.

        Raises:
            ModelError: the template writes the conversation differently once it is answered.
        """
        return self.prompt_and_answers(messages, tools, [message])[1][0]

    def prompt_and_answers(
        self, messages: Sequence[Message], tools: Sequence[Tool], answers: Sequence[Message]
    ) -> tuple[str, list[str]]:
        """`prompt(messages, tools)`, and what `answer` gives for each of several answers, the prompt written once.

        Raises:
            ModelError: as `answer` does.
        """
        prompt = beginning = self.prompt(messages, tools)
        texts = []
        for message in answers:
            full = self._render([*messages, message], tools, add_generation_prompt=False)
            if not full.startswith(beginning) and beginning is prompt:
                beginning = self.answered_prompt(messages, tools) or prompt
            if not full.startswith(beginning):
                raise ModelError(
                    f"model '{self.name}': its chat template changes the prompt once it is answered: "
                    f"{what_changes(prompt, full, messages)}"
                )
            text = full[len(beginning) :]
            # What a template writes after the end of the turn belongs to the next one, and is never generated.
            text = text.rstrip() if text.rstrip().endswith(self.ends) else text
            texts.append(text + self.ends[0] if self.adds_end and not text.endswith(self.ends) else text)
        return prompt, texts

    def answered_prompt(self, messages: Sequence[Message], tools: Sequence[Tool]) -> str | None:
        """What the template writes before an answer, or None where that cannot be told from the answer.

        It is what two different answers have in common, and must end as the prompt does: with the beginning of the
        assistant's turn.
        """
        prompt = self.prompt(messages, tools)
        opening = prompt[num_common(prompt, self._render(messages, tools, add_generation_prompt=False)) :]
        one, other = (
            self._render([*messages, answer], tools, add_generation_prompt=False) for answer in _PROBE_ANSWERS
        )
        length = num_common(one, other)
        is_told_apart = one[length:].startswith(_PROBE_ANSWERS[0].content)
        return one[:length] if opening and is_told_apart and one[:length].endswith(opening) else None

    def strip_end(self, text: str) -> str:
        """An answer's text without the token that ends it."""
        return text.removesuffix(next((end for end in self.ends if text.endswith(end)), ""))

    def verbatim_template(self) -> str:
        """A chat template that writes each message as its text stands, and the begin token that a tokenizer adds."""
        begin = json.dumps(self._automatic_bos, ensure_ascii=False, allow_nan=False)
        return "{{ " + begin + " }}{% for message in messages %}{{ message['content'] }}{% endfor %}"

    def parse(self, text: str, tools: Sequence[Tool]) -> ParsedAnswer:
        """Read a generated answer without its thoughts: text, calls, or a malformed call, which stays malformed.

        Args:
            tools: those that were offered; some formats need them to tell a number from a text.

        Raises:
            ModelError: the format in which this model writes calls is not known.
        """
        if self.call_format is None:
            raise ModelError(f"model '{self.name}': the way its template writes tool calls is not known to calltune")
        words = self.strip_end(text)
        answer = without_thoughts(words)
        if answer is None or self.is_in_thought(words):
            return ParsedAnswer(None, ENDLESS_THOUGHT)
        parsed = parse_answer(answer, self.call_format, tools)
        if self.thinks and parsed.message and (thought := thought_in(words)):
            return ParsedAnswer(replace(parsed.message, thought=thought))
        return parsed

    def _render(self, messages: Sequence[Message], tools: Sequence[Tool], *, add_generation_prompt: bool) -> str:
        text = render(
            self.tokenizer,
            self.name,
            message_dicts(messages, arguments_as_text=self.arguments_as_text, thoughts=self._thoughts),
            [tool_dict(tool) for tool in tools] or None,
            add_generation_prompt=add_generation_prompt,
            **(THINKING_KEYS if self.thinks else TEMPLATE_KEYS),
        )
        return text.removeprefix(self._automatic_bos)
