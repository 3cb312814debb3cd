"""Answers of a model that somebody trains: it is asked as it is in memory, and left as it was found.

Modules keep their modes, the model its settings, and random numbers their states, so that training goes on bit by bit
as if nobody had asked.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from transformers import GenerationConfig

from calltune.calling.chat import Chat
from calltune.models.backends.drawing import Answer, Drawing
from calltune.models.backends.generation import Generator, segment_fault
from calltune.models.backends.plain import PlainGenerator
from calltune.models.backends.state_check import state_fault
from calltune.models.backends.state_generation import StateGenerator
from calltune.models.backends.tokens import completion, end_ids, not_finite
from calltune.models.device import true_float32
from calltune.models.layer_kinds import is_hybrid
from calltune.types import Completion, Sample


class LiveModel:
    """A transformers model in memory that answers questions now and then, its weights being other ones each time."""

    def __init__(
        self,
        model: Any,
        chat: Chat,
        tokens_per_batch: int,
        *,
        shares: bool = True,
        precision: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        """Keep the model; nothing is computed yet.

        Args:
            model: without what a trainer lays around it, such as PEFT's model or DistributedDataParallel.
            tokens_per_batch: about how many tokens may be in memory at a time.
            shares: whether what prompts begin with alike may be computed once, where that is exact; packed rows of this
                model are known to be.
            precision: what answers are computed in, such as autocast.
        """
        self._model, self._chat, self._tokens_per_batch = model, chat, tokens_per_batch
        self._precision = precision
        self._ends = end_ids(model.generation_config, chat)
        pad = chat.tokenizer.pad_token_id
        self._pad: Any = pad if isinstance(pad, int) else chat.tokenizer.eos_token_id
        self._shares = shares
        self._kind: Any = None

    def answer(self, samples: Sequence[Sample], max_new_tokens: int) -> list[Completion]:
        """Greedy answers, written without thinking; one that reaches `max_new_tokens` is `truncated`."""
        prompts = [self._chat.tokenizer(self._chat.prompt(s.messages, s.tools)).input_ids for s in samples]
        answers = self.write(prompts, max_new_tokens)
        return [
            completion(self._chat, self._ends, sample, answer.tokens) if answer.is_finite else not_finite(sample)
            for sample, (answer,) in zip(samples, answers, strict=True)
        ]

    def write(
        self, prompts: Sequence[list[int]], max_new_tokens: int, drawing: Drawing | None = None
    ) -> list[list[Answer]]:
        """Answers to each prompt, as tokens: the greedy one, or those that are drawn."""
        if not prompts:
            return []
        with self._lent():
            if self._kind is None:
                self._kind = self._writer()
            # What a writer keeps of prompts holds for these weights alone, so each call has its own.
            writer = self._kind(self._model, self._ends, self._pad, self._tokens_per_batch)
            with self._precision():
                return writer.answers(prompts, max_new_tokens, drawing)

    @property
    def shares_prompts(self) -> bool:
        """Whether what prompts begin with alike is computed once; known when the model was asked for the first time."""
        return self._kind is not PlainGenerator

    def _writer(self) -> type:
        """What writes answers, chosen once: the plain way wherever another one would not be exact."""
        if not self._shares:
            return PlainGenerator
        if is_hybrid(self._model):
            return PlainGenerator if state_fault(self._model) else StateGenerator
        with true_float32(self._model.device):
            return PlainGenerator if segment_fault(self._model) else Generator

    @contextmanager
    def _lent(self) -> Iterator[None]:
        model = self._model
        modes = [(module, module.training) for module in model.modules()]
        own = model.generation_config
        devices = [model.device] if model.device.type == "cuda" else []
        model.eval()
        # Of the model's own settings only the ends are kept: sampling or a repetition penalty would not be greedy.
        model.generation_config = GenerationConfig(
            do_sample=False, pad_token_id=self._pad, eos_token_id=sorted(self._ends)
        )
        try:
            # No inference mode: what a layer keeps from here, such as rotary tables, training may need with gradients.
            with torch.random.fork_rng(devices), torch.no_grad():
                yield
        finally:
            model.generation_config = own
            for module, mode in modes:
                module.training = mode
