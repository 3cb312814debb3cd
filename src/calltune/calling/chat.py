"""Messages to model text and back, through the model's own chat template and call format.

Training and evaluation both take their text from here, so a model is asked exactly as it was taught. Text is rendered
once, as strings; a begin-of-sequence token that the tokenizer adds by itself is left out of them, so tokenizing
`prompt + answer` never doubles it.
"""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from calltune.calling.calls import CallFormat, ParsedAnswer, detect_format, parse_answer
from calltune.calling.layout import TEMPLATE_KEYS, message_dicts, tool_dict
from calltune.calling.rendering import render
from calltune.errors import ModelError
from calltune.types import Message, Tool, ToolCall

_PROBE_TOOL = Tool(
    "probe_tool",
    "A probe.",
    {"type": "object", "properties": {"probe_key": {"type": "string"}}, "required": ["probe_key"]},
)
_PROBE_QUESTION = Message("user", "probe question")
_PROBE_CALL = Message("assistant", "", (ToolCall("probe_tool", {"probe_key": "probe value"}),))


class Chat:
    """One model's way to write a conversation."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, name: str = "this model") -> None:
        """Probe the template.

        Raises:
            ModelError: there is no chat template, or it leaves out tools or tool calls.
            TemplateLimitError: it takes more time, memory or text than a conversation can need.
        """
        self.tokenizer = tokenizer
        self.name = name
        if not tokenizer.chat_template:
            raise ModelError(f"model '{name}': its tokenizer has no chat template; name one as 'chat_template'")
        if not isinstance(tokenizer.eos_token, str):
            raise ModelError(f"model '{name}': its tokenizer has no end-of-sequence token")
        self._end = tokenizer.eos_token
        bos = tokenizer.bos_token
        adds_bos = isinstance(bos, str) and tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]
        self._automatic_bos = str(bos) if adds_bos else ""
        if "probe_tool" not in self.prompt([_PROBE_QUESTION], [_PROBE_TOOL]):
            raise ModelError(f"model '{name}': its chat template leaves out the tools")
        call = self.answer([_PROBE_QUESTION], [_PROBE_TOOL], _PROBE_CALL)
        if "probe_tool" not in call or "probe value" not in call:
            raise ModelError(f"model '{name}': its chat template leaves out tool calls")
        self.call_format: CallFormat | None = detect_format(self.strip_end(call))

    def prompt(self, messages: Sequence[Message], tools: Sequence[Tool]) -> str:
        """The text up to where the assistant's answer begins, tools included, thinking off."""
        return self._render(messages, tools, add_generation_prompt=True)

    def answer(self, messages: Sequence[Message], tools: Sequence[Tool], message: Message) -> str:
        """The text that follows `prompt(messages, tools)` when the assistant answers with `message`.

        It ends with the end-of-sequence token where the template ends a turn with it.

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
        prompt = self.prompt(messages, tools)
        texts = []
        for message in answers:
            full = self._render([*messages, message], tools, add_generation_prompt=False)
            if not full.startswith(prompt):
                raise ModelError(f"model '{self.name}': its chat template changes the prompt once it is answered")
            text = full[len(prompt) :]
            # What a template writes after the end of the turn belongs to the next one, and is never generated.
            texts.append(text.rstrip() if text.rstrip().endswith(self._end) else text)
        return prompt, texts

    def strip_end(self, text: str) -> str:
        """An answer's text without the closing end-of-sequence token."""
        return text.removesuffix(self._end)

    def parse(self, text: str) -> ParsedAnswer:
        """Read a generated answer: text, calls, or a malformed call, which stays malformed.

        Raises:
            ModelError: the format in which this model writes calls is not known.
        """
        if self.call_format is None:
            raise ModelError(f"model '{self.name}': the way its template writes tool calls is not known to calltune")
        return parse_answer(self.strip_end(text), self.call_format)

    def _render(self, messages: Sequence[Message], tools: Sequence[Tool], *, add_generation_prompt: bool) -> str:
        text = render(
            self.tokenizer,
            self.name,
            message_dicts(messages),
            [tool_dict(tool) for tool in tools] or None,
            add_generation_prompt=add_generation_prompt,
            **TEMPLATE_KEYS,
        )
        return text.removeprefix(self._automatic_bos)
