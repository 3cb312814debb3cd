"""Text to token ids, and the tokens that a model wrote to a completion; every backend has both from here."""

from collections.abc import Collection, Sequence
from typing import Any

from transformers import GenerationConfig

from calltune.calling.chat import Chat
from calltune.calling.parsed import ENDLESS_THOUGHT, NOTHING_SAID, says_nothing
from calltune.errors import ModelError
from calltune.types import Completion, Sample, ScoringRequest


def end_ids(configured: GenerationConfig, chat: Chat) -> set[int]:
    """The tokens that end an answer: the checkpoint's, and those that its template ends answers with."""
    ends = configured.eos_token_id
    written = [chat.tokenizer.convert_tokens_to_ids(end) for end in chat.ends]
    known = [*(ends if isinstance(ends, list) else [ends]), *written]
    return {end for end in known if isinstance(end, int)}


def completion(chat: Chat, ends: Collection[int], sample: Sample, tokens: Sequence[int]) -> Completion:
    """The answer up to the first ending token, parsed; without an ending it is `truncated`.

    One without text and calls is `malformed`: training refuses just that.
    """
    length = next((place for place, token in enumerate(tokens) if token in ends), None)
    text = str(chat.tokenizer.decode(list(tokens[:length]), skip_special_tokens=False))
    if length is None:
        reason = f"no end within {len(tokens)} tokens" + f": {ENDLESS_THOUGHT}" * chat.is_in_thought(text)
        return Completion(sample.id, None, text, "truncated", reason=reason)
    parsed = chat.parse(text, sample.tools)
    if parsed.message and says_nothing(parsed.message):
        return Completion(sample.id, None, text, "malformed", reason=NOTHING_SAID)
    return Completion(sample.id, parsed.message, text, "ok" if parsed.message else "malformed", reason=parsed.reason)


def not_finite(sample: Sample) -> Completion:
    """An answer that was written from logits that are no numbers: none of its tokens was decided by the model."""
    return Completion(sample.id, None, "", "error", reason="the model's logits are not finite (look at its weights)")


def encode_requests(tokenizer: Any, requests: Sequence[ScoringRequest]) -> list[tuple[list[int], list[int]]]:
    """Per request and continuation, token ids of the prompt and of the continuation to be scored after it.

    As lm-eval 0.4.13 (`api/model.py`, `TemplateLM._encode_pair`): white space at the prompt's end is scored with the
    continuation, and the continuation's tokens are what the whole text has beyond the prompt's own count, even where a
    token would have merged across the edge. What no continuation can change is tokenized once, not with each of them.

    Raises:
        ModelError: no token is left to score, which would otherwise count as certain, or none to score it after.
    """
    starts = fresh_starts(tokenizer)
    prompts = [request.prompt.rstrip() for request in requests]
    cuts = [max([0, *map(prompt.rfind, starts)]) for prompt in prompts]
    tails = [
        request.prompt[cut:] + continuation
        for request, cut in zip(requests, cuts, strict=True)
        for continuation in request.continuations
    ]
    # What the tokenizer puts before every text is put before the head, so the rest has to go without.
    whole = not starts
    heads = (
        _ids(tokenizer, [prompt[:cut] for prompt, cut in zip(prompts, cuts, strict=True)])
        if starts
        else [[]] * len(cuts)
    )
    ends = _ids(tokenizer, [prompt[cut:] for prompt, cut in zip(prompts, cuts, strict=True)], whole)
    encoded = iter(_ids(tokenizer, tails, whole))
    pairs = []
    for request, head, end in zip(requests, heads, ends, strict=True):
        context = head + end
        if not context:
            raise ModelError("a prompt without tokens leaves nothing to score a choice after")
        for continuation in request.continuations:
            rest = next(encoded)[len(end) :]
            if not rest:
                raise ModelError(f"the tokenizer leaves no token of the choice {continuation!r} to score")
            pairs.append((context, rest))
    return pairs


def fresh_starts(tokenizer: Any) -> list[str]:
    """Added tokens at which tokenizing starts afresh: what is before one and what is after have no token in common.

    A fast tokenizer (tokenizers 0.23, `added_vocabulary.rs`) takes added tokens out of a text before all else, the
    leftmost longest first, and what lies between them is tokenized piece by piece. Left out are tokens that depend on
    their neighbours: those that eat white space, want to stand alone or are looked for in normalized text, and those
    that may begin inside another one. There is none where a text gets tokens at its end as well.
    """
    if not tokenizer.is_fast or tokenizer.split_special_tokens:
        return []
    bare = tokenizer("a", add_special_tokens=False).input_ids
    if tokenizer("a").input_ids[-len(bare) :] != bare:
        return []
    added = tokenizer.added_tokens_decoder.values()
    inside = set("".join(token.content[1:] for token in added))
    return [
        token.content
        for token in added
        if not (token.lstrip or token.rstrip or token.single_word or token.normalized or token.content[0] in inside)
    ]


def _ids(tokenizer: Any, texts: list[str], special: bool = True) -> list[list[int]]:
    # In one call, which is spread over processors.
    return tokenizer(texts, add_special_tokens=special).input_ids if texts else []
