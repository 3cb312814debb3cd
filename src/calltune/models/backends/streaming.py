"""One answer told while it is written."""

from collections.abc import Callable, Collection
from typing import Any, Protocol, runtime_checkable

from transformers.generation.streamers import BaseStreamer

from calltune.calling.chat import Chat
from calltune.models.backends import OpenedBackend
from calltune.types import Completion, Sample

Listener = Callable[[str], object]
"""Hears an answer's text piece by piece."""


@runtime_checkable
class Streams(Protocol):
    """A backend that tells an answer while it writes it."""

    def stream(
        self, sample: Sample, max_new_tokens: int, listener: Listener, thinking: bool | None = None
    ) -> Completion:
        """The greedy answer, of which the listener has heard every piece but the token that ends it."""
        ...


class Pieces(BaseStreamer):
    """Hands on the text of one answer as `generate` hands over its tokens."""

    def __init__(self, chat: Chat, ends: Collection[int], listener: Listener) -> None:
        self._tokenizer, self._ends, self._listener = chat.tokenizer, ends, listener
        self._tokens: list[int] = []
        self._num_told, self._is_prompt, self._is_over = 0, True, False

    def put(self, value: Any) -> None:
        """Take the prompt, which is told to nobody, and afterwards a token at a time."""
        if self._is_prompt:
            self._is_prompt = False
            return
        for token in value.flatten().tolist():
            self._is_over = self._is_over or token in self._ends
            if not self._is_over:
                self._tokens.append(token)
        text = str(self._tokenizer.decode(self._tokens, skip_special_tokens=False))
        # The last character may want another token's bytes yet.
        if not text.endswith("\N{REPLACEMENT CHARACTER}"):
            self._tell(text)

    def end(self) -> None:
        """Tell what is left."""
        self._tell(str(self._tokenizer.decode(self._tokens, skip_special_tokens=False)))

    def _tell(self, text: str) -> None:
        if len(text) > self._num_told:
            self._listener(text[self._num_told :])
            self._num_told = len(text)


def speak(
    backend: OpenedBackend, sample: Sample, max_new_tokens: int, listener: Listener, thinking: bool | None = None
) -> Completion:
    """The greedy answer to one question, told to the listener while it is written; at once by a backend that cannot."""
    if isinstance(backend, Streams):
        return backend.stream(sample, max_new_tokens, listener, thinking)
    mode = {} if thinking is None else {"thinking": thinking}
    (completion,) = backend.answer([sample], max_new_tokens, **mode)
    listener(completion.text)
    return completion
