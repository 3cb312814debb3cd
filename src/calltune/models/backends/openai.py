"""A model behind any OpenAI-compatible server, asked through chat completions. It answers; it gives no likelihoods.

The server renders the prompt and reads the calls, so its template and its call parser are measured along with the
model. A server applies its model's generation defaults, such as a repetition penalty, to whatever a request leaves
open; `extra_body` sets what matters.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import pydantic

from calltune.calling.parsed import ENDLESS_THOUGHT, NOTHING_SAID, make_call, says_nothing, thought_in, without_thoughts
from calltune.config.endpoint import EndpointConfig
from calltune.errors import ConfigError
from calltune.models.endpoint import Endpoint, Reply, message_text
from calltune.types import Completion, Message, Sample, Sampling, ScoringRequest, Tool, ToolCall

_NAME_LENGTH = 64
# How models open a call in text. A server whose parser fails on a call hands it on as text; it is still no answer.
_CALL_MARKS = ("<tool_call>", "<TOOLCALL>", "<|python_tag|>", "<function=", "<|tool_call|>", "[TOOL_CALLS]")


class Settings(EndpointConfig):
    """`[evaluate.backend_options]` of the `openai` backend."""

    served_as: dict[str, str] = pydantic.Field(default_factory=dict)
    """How the server names a checkpoint, by its Hub id or folder; without an entry, by that very name."""

    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """The field that bounds an answer; OpenAI's newer models take the second only."""

    greedy: bool = True
    """Ask for temperature 0; `false` is for models that refuse it, whose answers then differ from run to run."""


class Backend:
    """One model of a server. `chat` is None: the template is the server's."""

    chat = None

    def __init__(self, model: str, tokens_per_batch: int, settings: Settings, chat_template: str | None = None) -> None:
        """Prepare; nothing is sent yet.

        Args:
            model: the checkpoint's Hub id or folder.
            tokens_per_batch: plays no part; the server makes its own batches.
            settings: where the server is.
            chat_template: cannot be had here; the server writes its own prompts.

        Raises:
            ConfigError: the key's variable is not set, the package `openai` is not installed, or a template is given.
        """
        if chat_template is not None:
            raise ConfigError("'chat_template' plays no part with the openai backend: the server writes the prompts")
        self._model = settings.served_as.get(model, model)
        self._settings = settings
        self._endpoint = Endpoint(settings)

    def loglikelihood(self, requests: Sequence[ScoringRequest]) -> list[list[float]]:
        """There are none.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("the openai backend answers only; log-likelihoods need the backend 'hf' or 'vllm'")

    def sample(
        self, samples: Sequence[Sample], max_new_tokens: int, sampling: Sampling, thinking: bool | None = None
    ) -> list[list[Completion]]:
        """There is none: no server promises the same answers for the same seed, nor the text that a broken call was.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("the openai backend draws no answers; 'mine' needs the backend 'hf' or 'vllm'")

    def answer(self, samples: Sequence[Sample], max_new_tokens: int, thinking: bool | None = None) -> list[Completion]:
        """Answers in the order of the samples; where the server gives none after all tries, the status is `error`.

        A server is told whether to think by `chat_template_kwargs`, as vLLM and SGLang take it.

        Raises:
            ModelError: the server refuses every request: key, account, model or address are wrong.
        """
        completions: dict[int, Completion] = {}
        told = {} if thinking is None else {"chat_template_kwargs": {"enable_thinking": thinking}}
        if told.keys() & self._settings.extra_body.keys():
            raise ConfigError(
                "evaluate.backend_options.extra_body: 'chat_template_kwargs' is what [chat] thinking sends, so it must "
                "not be set"
            )

        async def work(number: int) -> Completion:
            names = sent_names(names_in(samples[number]))
            body = request_body(samples[number], names)
            options: dict[str, Any] = {self._settings.token_limit: max_new_tokens, **told}
            if self._settings.greedy:
                options["temperature"] = 0
            reply = await self._endpoint.ask({"model": self._model, **body, **options})
            completion = read_reply(samples[number].id, reply, {sent: name for name, sent in names.items()})
            if thinking is None or completion.message is None or reply.message is None:
                return completion
            thought = _thought(reply.message) or thought_in(message_text(reply.message))
            return replace(completion, message=replace(completion.message, thought=thought))

        self._endpoint.each(range(len(samples)), work, completions.__setitem__)
        return [completions[number] for number in range(len(samples))]


def sent_names(names: Iterable[str]) -> dict[str, str]:
    """A name for each tool that OpenAI's API takes: letters, digits, `_` and `-`, 64 at most; no two are equal.

    A name that fits is kept; in others the wrong characters become `_`, and a number follows where that collides.
    """
    asked = list(dict.fromkeys(names))
    sent = {name: name for name in asked if re.fullmatch(rf"[A-Za-z0-9_-]{{1,{_NAME_LENGTH}}}", name)}
    taken = set(sent)
    for name in asked:
        if name in sent:
            continue
        plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:_NAME_LENGTH] or "_"
        chosen, number = plain, 2
        while chosen in taken:
            chosen, number = f"{plain[: _NAME_LENGTH - len(str(number)) - 1]}_{number}", number + 1
        sent[name] = chosen
        taken.add(chosen)
    return sent


def read_reply(sample_id: str, reply: Reply, names: Mapping[str, str]) -> Completion:
    """The completion that a reply is: cut off, malformed, or an answer with its calls under the tools' own names.

    Args:
        names: from the name that was sent to the tool's own; other names are kept, as the model made them up.
    """
    if reply.message is None:
        return Completion(sample_id, None, "", "error", reason=reply.reason)
    content, calls = message_text(reply.message), reply.message.get("tool_calls") or []
    if not calls and isinstance(reply.message.get("function_call"), dict):
        calls = [{"function": reply.message["function_call"]}]
    text = "\n".join(part for part in (content, _calls_text(calls) if calls else "") if part)
    if reply.finish_reason == "length":
        return Completion(sample_id, None, text, "truncated", reason="the server cut it off at the bound of tokens")
    if reply.finish_reason == "content_filter":
        return Completion(sample_id, None, text, "error", reason="the server's content filter stopped it")
    said = without_thoughts(content)
    if said is None:
        return Completion(sample_id, None, text, "malformed", reason=ENDLESS_THOUGHT)
    if mark := next((mark for mark in _CALL_MARKS if mark in said), None):
        return Completion(sample_id, None, text, "malformed", reason=f"the server left {mark} in the text")
    read: list[ToolCall] = []
    for number, call in enumerate(calls if isinstance(calls, list) else [calls]):
        parsed = _call(call, names)
        if isinstance(parsed, str):
            return Completion(sample_id, None, text, "malformed", reason=f"call {number} {parsed}")
        read.append(parsed)
    if reply.finish_reason in ("tool_calls", "function_call") and not read:
        reason = f"the server says that calls were made ({reply.finish_reason}) and sent none"
        return Completion(sample_id, None, text, "malformed", reason=reason)
    message = Message("assistant", said.strip(), tuple(read))
    if says_nothing(message):
        thought = _thought(reply.message)
        mark = next((mark for mark in _CALL_MARKS if mark in thought), None)
        reason = f"{NOTHING_SAID}{', only a thought' if thought else ''}{f' that holds {mark}' if mark else ''}"
        return Completion(sample_id, None, text or thought, "malformed", reason=reason)
    return Completion(sample_id, message, text, "ok")


def _thought(message: Mapping[str, Any]) -> str:
    """What a server's parser of thoughts took out of the answer."""
    texts = (message.get(key) for key in ("reasoning_content", "reasoning"))
    return next((text for text in texts if isinstance(text, str) and text), "")


def _calls_text(calls: Any) -> str:
    """What the server said of calls, as JSON; as Python where it holds what JSON does not have."""
    try:
        return json.dumps(calls, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return repr(calls)


def _call(call: Any, names: Mapping[str, str]) -> ToolCall | str:
    """The call, or what is wrong with it."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        return "has no name"
    arguments = function.get("arguments")
    try:
        if arguments is None or isinstance(arguments, str):
            # Servers write no arguments as an empty text or null.
            arguments = json.loads(arguments) if arguments and arguments.strip() else {}
    except json.JSONDecodeError as error:
        return f"has arguments that are not JSON: {error.msg} at their character {error.pos}"
    except (ValueError, RecursionError):
        return "has arguments that are JSON out of bounds"
    return make_call(names.get(function["name"], function["name"]), arguments)


def names_in(sample: Sample) -> list[str]:
    """Return the names of the tools that a question offers, and of those that were called in it."""
    called = [call.name for message in sample.messages for call in message.tool_calls]
    return [tool.name for tool in sample.tools] + called


def request_body(sample: Sample, names: Mapping[str, str]) -> dict[str, Any]:
    """Return a question's `messages` and `tools` as OpenAI's API takes them; `names` are those that are sent."""
    messages: list[dict[str, Any]] = []
    open_ids: list[str] = []
    for place, message in enumerate(sample.messages):
        sent: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.tool_calls:
            open_ids = [f"call_{place}_{number}" for number in range(len(message.tool_calls))]
            sent["tool_calls"] = [
                {"id": call_id, "type": "function", "function": _function(call, names)}
                for call_id, call in zip(open_ids, message.tool_calls, strict=True)
            ]
        if message.role == "tool":
            # Results come in the order of the calls; ours carry no ids.
            sent["tool_call_id"] = open_ids.pop(0) if open_ids else f"call_{place}"
        messages.append(sent)
    tools = [{"type": "function", "function": _declaration(tool, names)} for tool in sample.tools]
    # An empty list of tools is refused.
    return {"messages": messages, "tools": tools} if tools else {"messages": messages}


def _function(call: ToolCall, names: Mapping[str, str]) -> dict[str, str]:
    return {
        "name": names[call.name],
        "arguments": json.dumps(dict(call.arguments), ensure_ascii=False, allow_nan=False),
    }


def _declaration(tool: Tool, names: Mapping[str, str]) -> dict[str, Any]:
    return {"name": names[tool.name], "description": tool.description, "parameters": dict(tool.parameters)}
