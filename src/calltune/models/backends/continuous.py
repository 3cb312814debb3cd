"""Continuous batching by transformers: on a GPU a new prompt takes the place of each answer that ends.

It keeps keys and values in pages, which prompts that begin alike share. Whether it is right for a model, and faster
than `generation` here, is found out on the first questions, so that a wrong guess costs speed and never truth.
"""

import inspect
import logging
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import Any, Protocol

import torch
from transformers import GenerationConfig
from transformers.generation.configuration_utils import ContinuousBatchingConfig

from calltune.errors import ModelError
from calltune.models.backends.drawing import Answer, Drawing
from calltune.models.prefix import shared_attention
from calltune.models.ways import REFUSALS
from calltune.runtime.terminal import say

LEAST_TO_TRY = 16
"""Prompts of one call; with fewer there is nothing to measure."""

_MOST_TO_TRY, _TOKENS_TO_TRY = 32, 32
_TIMES_FASTER = 1.5  # or the usual way stays, so that chance does not choose between two that take as long
_SHARE_OF_MEMORY = 0.4  # for its pages; scoring needs memory too
_ASKED_FOR = {"inputs", "generation_config", "continuous_batching_config"}


class Writer(Protocol):
    """What answers prompts."""

    def answers(self, prompts: Sequence[list[int]], room: int, drawing: Drawing | None = None) -> list[list[Answer]]:
        """Answers to each prompt of at most `room` tokens: the greedy one, or those that are drawn."""
        ...


class ContinuousGenerator:
    """One model that answers prompts greedily."""

    def __init__(self, model: Any, ends: Collection[int], pad: int, **sizes: Any) -> None:
        """Keep the model.

        Args:
            ends: token ids that end an answer.
            sizes: further arguments of transformers' `ContinuousBatchingConfig`, which win over those set here.
        """
        self._model = model
        self._settings = GenerationConfig(do_sample=False, pad_token_id=pad, eos_token_id=sorted(ends))
        # The log-probability of each token tells whether its logits were numbers.
        options = {"return_logprobs": True, "max_memory_percent": _SHARE_OF_MEMORY, **sizes}
        self._batching = ContinuousBatchingConfig(**options)

    def answers(self, prompts: Sequence[list[int]], room: int) -> list[list[Answer]]:
        """The greedy answer to each prompt of at most `room` tokens.

        Raises:
            ModelError: transformers gave up.
        """
        with (
            # A thread of its own computes, which knows nothing of this one's mode.
            torch.inference_mode(False),
            torch.no_grad(),
            # It takes another way to attend, and leaves the model with that.
            shared_attention(self._model, self._model.config._attn_implementation or "sdpa"),
            _quiet(),
        ):
            outputs = self._model.generate_batch(
                list(prompts),
                generation_config=self._settings,
                continuous_batching_config=self._batching,
                max_new_tokens=room,
            )
        if len(outputs) != len(prompts):
            raise ModelError(f"of {len(prompts)} prompts {len(outputs)} were answered")
        answers = []
        for output in outputs.values():
            if output.error or len(output.logprobs) != len(output.generated_tokens):
                raise ModelError(str(output.error or "tokens came without their log-probability").splitlines()[0])
            bad = next((place for place, value in enumerate(output.logprobs) if not isfinite(value)), None)
            tokens = output.generated_tokens[: None if bad is None else bad + 1]
            answers.append([Answer(list(tokens), bad is None)])
        return answers


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep a failure's traceback off the terminal; what went wrong is raised here, and told in one line."""
    logger = logging.getLogger("ContinuousBatchingLogger")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def has_continuous(model: Any) -> bool:
    """Whether this transformers has continuous batching and can be asked for it as it is here."""
    ask = getattr(model, "generate_batch", None)
    return ask is not None and set(inspect.signature(ask).parameters) >= _ASKED_FOR


def reason_against(continuous: ContinuousGenerator, usual: Writer, prompts: Sequence[list[int]], room: int) -> str:
    """Why continuous batching does not answer these prompts, empty where it does: it is wrong, or not much faster."""
    some, few = prompts[:_MOST_TO_TRY], min(room, _TOKENS_TO_TRY)
    try:
        # The first of all calls do what is done once.
        fault = answer_fault(continuous, usual, some[:4], few)
        if fault:
            return fault
        times = []
        for writer in (continuous, usual):
            begun = time.perf_counter()
            writer.answers(some, few)
            times.append(time.perf_counter() - begun)
    except REFUSALS as error:
        # There is another way.
        return f"{type(error).__name__}: {(str(error).splitlines() or ['?'])[0][:200]}"
    took = f"{len(some)} prompts took {times[0]:.1f} s, otherwise {times[1]:.1f} s"
    if times[0] * _TIMES_FASTER > times[1]:
        return took
    say(f"answers come by continuous batching: {took}")
    return ""


def answer_fault(continuous: ContinuousGenerator, usual: Writer, prompts: Sequence[list[int]], room: int) -> str | None:
    """None when both ways give the same answers, else how many differ."""
    pairs = zip(continuous.answers(prompts, room), usual.answers(prompts, room), strict=True)
    others = sum(one != other for one, other in pairs)
    return f"{others} of {len(prompts)} answers are others" if others else None


class Chosen:
    """Continuous batching where it is right and much faster, else the usual way; the first questions decide."""

    def __init__(self, continuous: ContinuousGenerator, usual: Writer) -> None:
        self._continuous, self._usual = continuous, usual
        self._is_chosen: bool | None = None

    def answers(self, prompts: Sequence[list[int]], room: int, drawing: Drawing | None = None) -> list[list[Answer]]:
        """Answers to each prompt of at most `room` tokens: the greedy one, or those that are drawn the usual way."""
        if drawing is None and self._is_chosen is None and len(prompts) >= LEAST_TO_TRY:
            reason = reason_against(self._continuous, self._usual, prompts, room)
            self._is_chosen = not reason
            if reason:
                say(f"continuous batching is left out: {reason}")
        if drawing is None and self._is_chosen:
            try:
                return self._again_where_not_finite(prompts, self._continuous.answers(prompts, room), room)
            except (ModelError, RuntimeError, ValueError) as error:
                say(f"continuous batching is left out from here on: {str(error).splitlines()[0][:200]}")
                self._is_chosen = False
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
        return self._usual.answers(prompts, room, drawing)

    def _again_where_not_finite(
        self, prompts: Sequence[list[int]], answers: list[list[Answer]], room: int
    ) -> list[list[Answer]]:
        """Ask once more for those whose logits were no numbers, which one prompt's spread to the others beside it."""
        bad = [number for number, (answer,) in enumerate(answers) if not answer.is_finite]
        if bad:
            again = self._usual.answers([prompts[number] for number in bad], room)
            for number, answer in zip(bad, again, strict=True):
                answers[number] = answer
        return answers
