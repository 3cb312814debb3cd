"""Tokens that a model wrote -> a completion; every backend that generates tokens reads them here."""

from collections.abc import Collection, Sequence

from transformers import GenerationConfig

from calltune.chat import Chat
from calltune.types import Completion, Sample


def end_ids(configured: GenerationConfig, chat: Chat) -> set[int]:
    """The tokens that end an answer: the checkpoint's, and the one that its template ends a turn with."""
    ends = configured.eos_token_id
    found = [*(ends if isinstance(ends, list) else [ends]), chat.tokenizer.eos_token_id]
    return {end for end in found if isinstance(end, int)}


def completion(chat: Chat, ends: Collection[int], sample: Sample, tokens: Sequence[int]) -> Completion:
    """The answer up to the first ending token, parsed; without an ending it is `truncated`."""
    length = next((place for place, token in enumerate(tokens) if token in ends), None)
    text = str(chat.tokenizer.decode(list(tokens[:length]), skip_special_tokens=False))
    if length is None:
        return Completion(sample.id, None, text, "truncated", reason=f"no end within {len(tokens)} tokens")
    parsed = chat.parse(text)
    return Completion(sample.id, parsed.message, text, "ok" if parsed.message else "malformed", reason=parsed.reason)
