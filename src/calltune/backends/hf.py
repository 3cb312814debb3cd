"""transformers as a backend: batched scoring and greedy generation, probabilities in float32."""

from collections.abc import Iterator, Sequence

import torch

from calltune.chat import Chat
from calltune.errors import ModelError
from calltune.models import load_model, load_tokenizer
from calltune.types import Completion, Sample, ScoringRequest


def encode_pair(chat: Chat, prompt: str, continuation: str) -> tuple[list[int], list[int]]:
    """Token ids of a prompt and of the continuation to be scored after it.

    As lm-eval 0.4.13 (`api/model.py`, `TemplateLM._encode_pair`): white space at the prompt's end is scored with the
    continuation, and the continuation's tokens are what the whole text has beyond the prompt's own count, even where a
    token would have merged across the edge.

    Raises:
        ModelError: no token is left to score, which would otherwise count as certain.
    """
    stripped = prompt.rstrip()
    continuation = prompt[len(stripped) :] + continuation
    whole = chat.tokenizer(stripped + continuation).input_ids
    context = chat.tokenizer(stripped).input_ids
    if len(whole) <= len(context):
        raise ModelError(f"the tokenizer leaves no token of the choice {continuation!r} to score")
    return context, whole[len(context) :]


class Backend:
    """One model, loaded once; bf16 on a GPU, float32 on a CPU."""

    def __init__(self, model: str, tokens_per_batch: int) -> None:
        """Load the model and its tokenizer.

        Args:
            tokens_per_batch: upper bound of tokens in one forward pass, padding included.

        Raises:
            ModelError: it cannot be loaded, or its template cannot write tools.
        """
        self.chat = Chat(load_tokenizer(model), model)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = torch.bfloat16 if self._device.type == "cuda" else torch.float32
        self._model = load_model(model, dtype).to(self._device).eval()
        self._tokens_per_batch = tokens_per_batch
        pad = self.chat.tokenizer.pad_token_id
        self._pad = pad if isinstance(pad, int) else self.chat.tokenizer.eos_token_id

    @torch.inference_mode()
    def loglikelihood(self, requests: Sequence[ScoringRequest]) -> list[list[float]]:
        """Per request and continuation, the natural log-probability of the continuation's tokens, summed in float32."""
        pairs = [encode_pair(self.chat, r.prompt, text) for r in requests for text in r.continuations]
        sums = [0.0] * len(pairs)
        for batch in self._batches([len(context) + len(rest) for context, rest in pairs], room=0):
            for number, value in zip(batch, self._score([pairs[number] for number in batch]), strict=True):
                sums[number] = value
        values = iter(sums)
        return [[next(values) for _ in request.continuations] for request in requests]

    @torch.inference_mode()
    def answer(self, samples: Sequence[Sample], max_new_tokens: int) -> list[Completion]:
        """Greedy answers; one that reaches `max_new_tokens` without ending is `truncated`."""
        prompts = [self.chat.tokenizer(self.chat.prompt(s.messages, s.tools)).input_ids for s in samples]
        completions: list[Completion | None] = [None] * len(samples)
        for batch in self._batches([len(prompt) for prompt in prompts], room=max_new_tokens):
            ids, mask = self._pad_left([prompts[number] for number in batch])
            generated = self._model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=self._pad,
                eos_token_id=self._end_ids(),
            )
            for number, tokens in zip(batch, generated[:, ids.shape[1] :].tolist(), strict=True):
                completions[number] = self._completion(samples[number], tokens)
        return [completion for completion in completions if completion is not None]

    def _end_ids(self) -> list[int]:
        configured = self._model.generation_config.eos_token_id
        ends = configured if isinstance(configured, list) else [configured]
        return sorted({end for end in [*ends, self.chat.tokenizer.eos_token_id] if end is not None})

    def _completion(self, sample: Sample, tokens: list[int]) -> Completion:
        ends = set(self._end_ids())
        length = next((place for place, token in enumerate(tokens) if token in ends), None)
        text = self.chat.tokenizer.decode(tokens[:length], skip_special_tokens=False)
        if length is None:
            return Completion(sample.id, None, text, "truncated", reason=f"no end within {len(tokens)} tokens")
        parsed = self.chat.parse(text)
        status = "ok" if parsed.message else "malformed"
        return Completion(sample.id, parsed.message, text, status, reason=parsed.reason)

    def _score(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        ids, mask = self._pad_left([context + rest for context, rest in pairs])
        longest = max(len(rest) for _, rest in pairs)
        # Positions are counted from each row's first real token, so padding on the left changes nothing.
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        # Rows end together, so the last positions hold all that is scored; the head is computed only there.
        logits = self._model(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=longest + 1
        ).logits
        logprobs = torch.log_softmax(logits[:, :-1].float(), dim=-1)
        logprobs = logprobs.gather(2, ids[:, -longest:, None]).squeeze(2)
        return [float(row[longest - len(rest) :].sum()) for row, (_, rest) in zip(logprobs, pairs, strict=True)]

    def _pad_left(self, rows: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(map(len, rows))
        ids = torch.tensor([[self._pad] * (width - len(row)) + row for row in rows], device=self._device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=self._device)
        return ids, mask

    def _batches(self, lengths: Sequence[int], room: int) -> Iterator[list[int]]:
        """Row numbers in batches of similar length, longest first, each within the bound of tokens."""
        batch: list[int] = []
        for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
            widest = lengths[batch[0]] if batch else lengths[number]
            if batch and (len(batch) + 1) * (widest + room) > self._tokens_per_batch:
                yield batch
                batch = []
            batch.append(number)
        if batch:
            yield batch
