"""transformers as a backend: batched scoring and greedy generation, probabilities in float32."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from transformers import GenerationConfig

from calltune.calling.chat import Chat
from calltune.models.backends.continuous import Chosen, ContinuousGenerator, Writer, has_continuous
from calltune.models.backends.drawing import Answer, Drawing, numbers_for
from calltune.models.backends.generation import Generator, segment_fault
from calltune.models.backends.hf_settings import Settings, lay_kernels
from calltune.models.backends.plain import PlainGenerator, batches_of_like_length, pad_left
from calltune.models.backends.scored import distinct_rows, known_outputs
from calltune.models.backends.state_check import state_fault
from calltune.models.backends.state_generation import StateGenerator
from calltune.models.backends.states import States
from calltune.models.backends.streaming import Listener, Pieces
from calltune.models.backends.tokens import completion, encode_requests, end_ids, not_finite
from calltune.models.exactness import can_share
from calltune.models.layer_kinds import is_hybrid
from calltune.models.load import check_tokens, load_model, load_tokenizer
from calltune.models.prefix import backbone_outputs, shared_attention
from calltune.models.trie import batches, pack, places
from calltune.models.ways import Ways, ways_of
from calltune.runtime.processes import processes
from calltune.runtime.terminal import say
from calltune.types import Completion, Sample, Sampling, ScoringRequest

_HEAD_LOGITS = 2**24  # that the LM head gives in one go: 64 MiB in float32
_HEAD_LOGITS_ON_GPU = 2**28  # 1 GiB; there a call costs more than its work, and each waits for the one before it


class Backend:
    """One model, loaded once."""

    def __init__(
        self,
        model: str,
        tokens_per_batch: int,
        settings: Settings | None = None,
        chat_template: str | None = None,
        share_prefixes: bool = True,
    ) -> None:
        """Load the model and its tokenizer.

        Args:
            tokens_per_batch: upper bound of tokens in one forward pass, padding included.
            settings: every backend takes its own.
            chat_template: a Jinja file that takes the place of the model's own template.
            share_prefixes: score what rows have in common once; where the model does not allow it, say why not.

        Raises:
            ModelError: it cannot be loaded, or its template cannot write tools.
        """
        self.chat = Chat(load_tokenizer(model, chat_template), model)
        self._device = (
            torch.device("cuda", processes().local_rank) if torch.cuda.is_available() else torch.device("cpu")
        )
        default = torch.bfloat16 if self._device.type == "cuda" else torch.float32
        settings = settings or Settings()
        dtype = default if settings.dtype == "auto" else getattr(torch, settings.dtype)
        self._model: Any = load_model(model, dtype)
        self._model.to(self._device).eval()
        lay_kernels(self._model, settings)
        self._tries_continuous = self._device.type == "cuda" and settings.continuous_batching == "auto"
        self._tokens_per_batch = tokens_per_batch
        pad = self.chat.tokenizer.pad_token_id
        self._pad: Any = pad if isinstance(pad, int) else self.chat.tokenizer.eos_token_id
        check_tokens(self._model, self.chat, [self._pad])
        self._ends = end_ids(self._model.generation_config, self.chat)
        # Of the checkpoint's own settings only the ends are kept: sampling or a repetition penalty would not be greedy.
        self._model.generation_config = GenerationConfig(
            do_sample=False, pad_token_id=self._pad, eos_token_id=sorted(self._ends)
        )
        self._share_prefixes = share_prefixes
        self._asked_model, self._against = False, None
        self._states: States | None = None
        self._shares_scores: bool | None = None
        self._writer: Writer | None = None
        self._ways: Ways | None = None
        self._num_positions: int | None = getattr(self._model.config, "max_position_embeddings", None)

    @torch.inference_mode()
    def loglikelihood(self, requests: Sequence[ScoringRequest]) -> list[list[float]]:
        """Per request and continuation, the natural log-probability of the continuation's tokens, summed in float32."""
        pairs = encode_requests(self.chat.tokenizer, requests)
        self._look_at([context + rest for context, rest in pairs])
        values = iter(self._scored(pairs))
        return [[next(values) for _ in request.continuations] for request in requests]

    @torch.inference_mode()
    def path_loglikelihoods(self, samples: Sequence[Sample], paths: Sequence[Sequence[int]]) -> list[list[float]]:
        """Per sample and path of token ids, the natural log-probability that the answer begins with it."""
        prompts = self._prompts(self.chat, samples, max(map(len, paths)))
        values = iter(self._scored([(prompt, list(path)) for prompt in prompts for path in paths]))
        return [[next(values) for _ in paths] for _ in prompts]

    def _scored(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        if not self._shares():
            return self._score_plain(pairs)
        return (self._score_shared if self._states is None else self._score_after)(pairs)

    @torch.inference_mode()
    def answer(self, samples: Sequence[Sample], max_new_tokens: int, thinking: bool | None = None) -> list[Completion]:
        """Greedy answers; one that reaches `max_new_tokens` without ending is `truncated`."""
        chat = self.chat.in_mode(bool(thinking))
        return [answers[0] for answers in self._answers(chat, samples, max_new_tokens)]

    @torch.inference_mode()
    def sample(
        self, samples: Sequence[Sample], max_new_tokens: int, sampling: Sampling, thinking: bool | None = None
    ) -> list[list[Completion]]:
        """Answers drawn at random; a prompt is computed once for all its answers."""
        return self._answers(self.chat.in_mode(bool(thinking)), samples, max_new_tokens, sampling)

    @torch.inference_mode()
    def stream(
        self, sample: Sample, max_new_tokens: int, listener: Listener, thinking: bool | None = None
    ) -> Completion:
        """The greedy answer, told piece by piece while it is written."""
        chat = self.chat.in_mode(bool(thinking))
        prompt = self._prompts(chat, [sample], max_new_tokens)
        writer = PlainGenerator(self._model, self._ends, self._pad, self._tokens_per_batch)
        pieces = Pieces(chat, self._ends, listener)
        return self._completion(chat, sample, writer.write(prompt, max_new_tokens, streamer=pieces)[0][0])

    def _prompts(self, chat: Chat, samples: Sequence[Sample], room: int) -> list[list[int]]:
        prompts = [chat.tokenizer(chat.prompt(s.messages, s.tools)).input_ids for s in samples]
        self._look_at(prompts, room)
        return prompts

    def _completion(self, chat: Chat, sample: Sample, answer: Answer) -> Completion:
        return completion(chat, self._ends, sample, answer.tokens) if answer.is_finite else not_finite(sample)

    def _answers(
        self, chat: Chat, samples: Sequence[Sample], max_new_tokens: int, sampling: Sampling | None = None
    ) -> list[list[Completion]]:
        prompts, drawing = self._prompts(chat, samples, max_new_tokens), None
        if sampling:
            copies = sampling.num_answers
            numbers = numbers_for(sampling.seed, [sample.id for sample in samples], copies, max_new_tokens)
            drawing = Drawing(numbers.to(self._device), copies, sampling.temperature, sampling.top_p)
        answers = self._generator().answers(prompts, max_new_tokens, drawing) if prompts else []
        return [
            [self._completion(chat, sample, answer) for answer in own]
            for sample, own in zip(samples, answers, strict=True)
        ]

    def _generator(self) -> Writer:
        """What writes answers; the model is asked once whether prompts can share what they have in common."""
        if self._writer is None:
            reason = None
            if self._share_prefixes:
                reason = self._reason() or (None if self._states else segment_fault(self._model))
                if reason:
                    say(f"every prompt is computed for itself before it is answered: {reason}")
            kind = Generator if self._states is None else StateGenerator
            if reason or not self._share_prefixes:
                kind = PlainGenerator
            self._writer = kind(self._model, self._ends, self._pad, self._tokens_per_batch)
            if self._tries_continuous and self._share_prefixes and has_continuous(self._model):
                continuous = ContinuousGenerator(self._model, self._ends, self._pad)
                self._writer = Chosen(continuous, self._writer)
        return self._writer

    def _look_at(self, rows: Sequence[list[int]], room: int = 0) -> None:
        """Refuse tokens that the model does not know, and say once that it was never meant to see as many.

        It is asked all the same, and nothing is cut. `room` is how many tokens a row may grow by.
        """
        check_tokens(self._model, self.chat, chain.from_iterable(rows))
        longest = max(map(len, rows), default=0) + room
        if self._num_positions and longest > self._num_positions:
            say(
                f"warning: {longest:,} tokens are more than the {self._num_positions:,} that this model was made for; "
                "its answers to questions so long mean little"
            )
            self._num_positions = None

    def _reason(self) -> str | None:
        """Why the model cannot share prefixes, None where it can; it is asked once."""
        if not self._asked_model:
            self._asked_model = True
            if is_hybrid(self._model):
                self._against = state_fault(self._model)
                self._states = None if self._against else States(self._model, self._pad, self._tokens_per_batch)
            else:
                self._against = can_share(self._model)
        return self._against

    def _shares(self) -> bool:
        """Whether prefixes are shared in scoring; the model is asked once."""
        if self._share_prefixes and self._shares_scores is None:
            reason = self._reason()
            if reason is None and self._states is None:
                # A compiler would take longer than most benchmarks.
                self._ways = ways_of(self._model, is_compiling=False)
                reason = self._ways.reason_against()
            if reason:
                say(f"every prompt is computed once for each of its choices: {reason}")
            self._shares_scores = reason is None
        return bool(self._share_prefixes and self._shares_scores)

    def _score_shared(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        rows, pairs_of = distinct_rows(pairs)
        sums = [0.0] * len(pairs)
        with shared_attention(self._model):
            for chosen in batches(rows, self._tokens_per_batch):
                packed = pack([rows[row] for row in chosen], self._device)
                if self._ways is not None:
                    packed = replace(packed, way=self._ways.best(packed, with_gradients=False))
                batch = [number for row in chosen for number in pairs_of[row]]
                asked = [
                    places(path, len(rows[row]) - len(pairs[number][1]), len(rows[row]))
                    for row, path in zip(chosen, packed.paths, strict=True)
                    for number in pairs_of[row]
                ]
                targets = torch.tensor(list(chain.from_iterable(pairs[number][1] for number in batch)))
                asked_places = torch.tensor(list(chain.from_iterable(asked)))
                outputs = backbone_outputs(self._model, packed)
                logprobs = self._logprobs(outputs, packed.ids, asked_places.to(self._device), targets.to(self._device))
                for number, part in zip(batch, logprobs.cpu().split([len(part) for part in asked]), strict=True):
                    sums[number] = float(part.sum())
        return sums

    def _score_after(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        """Score what a hybrid model goes on to from the contexts, each of which is computed once."""
        # Before its last token, a context has to have something to go on from.
        sums = {n: self._score_plain([pair])[0] for n, pair in enumerate(pairs) if len(pair[0]) == 1}
        longer = [number for number in range(len(pairs)) if number not in sums]
        assert self._states is not None
        for batch, outputs in self._states.scored([pairs[number] for number in longer]):
            numbers = [longer[place] for place in batch]
            width = outputs.last_hidden_state.shape[1]
            values = self._sums(outputs, range(0, width * len(batch), width), [pairs[n][1] for n in numbers])
            sums.update(zip(numbers, values, strict=True))
        return [sums[number] for number in range(len(pairs))]

    def _logprobs(self, outputs: Any, ids: torch.Tensor, asked: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Log-probability of each target after its place in the packed row, [targets], float32."""
        # Several choices may ask one place; its logits are computed once.
        kept, where = asked.unique(return_inverse=True)
        logprobs = torch.empty(len(targets), device=targets.device)
        num_logits = _HEAD_LOGITS if targets.device.type == "cpu" else _HEAD_LOGITS_ON_GPU
        step = max(1, num_logits // self._model.config.get_text_config(decoder=True).vocab_size)
        with known_outputs(self._model.base_model, outputs):
            for start in range(0, len(kept), step):
                logits = self._model(input_ids=ids, use_cache=False, logits_to_keep=kept[start : start + step]).logits
                mine = (where >= start) & (where < start + step)
                logprobs[mine] = logits[0].float().log_softmax(-1)[where[mine] - start, targets[mine]]
        return logprobs

    def _score_plain(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        sums = [0.0] * len(pairs)
        lengths = [len(context) + len(rest) for context, rest in pairs]
        for batch in batches_of_like_length(lengths, self._tokens_per_batch):
            for number, value in zip(batch, self._score([pairs[number] for number in batch]), strict=True):
                sums[number] = value
        return sums

    def _score(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        # A row's last token is predicted, and predicts nothing.
        ids, mask = pad_left([context + rest[:-1] for context, rest in pairs], self._pad, self._device)
        # Positions are counted from each row's first real token, so padding on the left changes nothing.
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        backbone = self._model.base_model
        outputs = backbone(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False)
        width = ids.shape[1]
        starts = [width * (row + 1) - len(rest) for row, (_, rest) in enumerate(pairs)]
        return self._sums(outputs, starts, [rest for _, rest in pairs])

    def _sums(self, outputs: Any, starts: Sequence[int], rests: Sequence[list[int]]) -> list[float]:
        """Log-probability of each rest; the first of its tokens is predicted at its start, over all rows' places."""
        # Joined to one row, of which only the places before a scored token go through the head.
        states = outputs.last_hidden_state
        outputs.last_hidden_state = states.reshape(1, -1, states.shape[-1])
        asked = [place for start, rest in zip(starts, rests, strict=True) for place in range(start, start + len(rest))]
        logprobs = self._logprobs(
            outputs,
            torch.zeros(1, states.shape[:2].numel(), dtype=torch.long, device=self._device),
            torch.tensor(asked, device=self._device),
            torch.tensor(list(chain.from_iterable(rests)), device=self._device),
        )
        return [float(part.sum()) for part in logprobs.cpu().split(list(map(len, rests)))]
