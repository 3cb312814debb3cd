"""Whether two models are one: the same greedy answers, and the same log-likelihoods within what a precision allows.

A difference is measured per token, as |log p - log p'| in nats. Rounding weights and activations once to a precision
with `eps` (the gap after 1) moves each logit by some `eps / 2` of its size, at random, and logits of language models
are some units to tens in size; the mean was measured at about one `eps` (`tests/test_parity.py`). Four `eps` are
allowed: 0.031 in bfloat16, 0.0039 in float16; in float32, where other orders of summation weigh more than rounding,
0.0001. A merge done in a precision that does not hold the numbers is off by far more.

A greedy answer may part from the other one only where the first model was undecided: where both tokens are as likely
to sixteen times that tolerance. A single token strays further than the mean, and two of them are compared: merges into
bfloat16 of 22 adapters of random numbers strayed by 0.018 to 0.026 nats on average and by 0.41 at most, and right
answers parted where they had been decided by up to 0.31.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

_EPS_OF_MEAN = 4
_LEAST_TOLERANCE = 1e-4
_MEANS_OF_TIE = 16


@dataclass(frozen=True, slots=True)
class Probe:
    """A question and a known answer to it, as token ids; neither may be empty."""

    prompt: list[int]
    answer: list[int]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a model says to the probes.

    `greedy[i]` is its own answer to probe i, and `scores[i]` the log-probabilities of all tokens at each token of it
    [tokens, vocabulary]; `known[i]` those of the known answer's tokens [tokens]. In float32, on the CPU.
    """

    greedy: list[list[int]]
    scores: list[torch.Tensor]
    known: list[torch.Tensor]


@dataclass(frozen=True, slots=True)
class Parity:
    """What was compared and found; `problem` is empty when the models are one."""

    num_probes: int
    num_same: int
    num_undecided: int
    num_tokens: int
    mean_difference: float
    max_difference: float
    tolerance: float
    problem: str

    @property
    def tie(self) -> float:
        """Below this margin, in nats, either of two tokens may be the greedy one."""
        return _MEANS_OF_TIE * self.tolerance

    def sentence(self) -> str:
        """For the user and the model card."""
        close = f", {self.num_undecided} part where two tokens were about as likely, within {self.tie:.2g} nats"
        undecided = close if self.num_undecided else ""
        return (
            f"{self.num_same} of {self.num_probes} greedy answers are the same{undecided}; log-likelihoods of "
            f"{self.num_tokens:,} tokens differ by {self.mean_difference:.2g} nats on average, at most by "
            f"{self.max_difference:.2g} (tolerance of the average: {self.tolerance:.2g})"
        )


def tolerance(dtype: torch.dtype) -> float:
    """The largest mean difference per token, in nats, that storing and computing in a precision explains."""
    return max(_EPS_OF_MEAN * torch.finfo(dtype).eps, _LEAST_TOLERANCE)


@torch.inference_mode()
def read_model(model: Any, probes: Sequence[Probe], max_new_tokens: int) -> Reading:
    """Ask a model every probe, one at a time, without padding."""
    greedy = [_answer(model, probe.prompt, max_new_tokens) for probe in probes]
    scores = [_scores(model, probe.prompt, answer) for probe, answer in zip(probes, greedy, strict=True)]
    return Reading(greedy, scores, [_known(model, probe.prompt, probe.answer) for probe in probes])


@torch.inference_mode()
def compare(before: Reading, model: Any, probes: Sequence[Probe], max_new_tokens: int) -> Parity:
    """Ask `model` what `before` was asked, and the log-likelihoods of its answers, too."""
    bound = tolerance(model.dtype)
    greedy = [_answer(model, probe.prompt, max_new_tokens) for probe in probes]
    undecided, problem = 0, ""
    for number, (theirs, ours) in enumerate(zip(before.greedy, greedy, strict=True)):
        margin = margin_of_parting(theirs, ours, before.scores[number])
        undecided += 0 < margin <= _MEANS_OF_TIE * bound
        if not margin <= _MEANS_OF_TIE * bound:
            problem = problem or f"the answer to probe {number} is another, where it was decided by {margin:.2g} nats"
    differences = torch.cat(
        [
            (own.gather(1, torch.tensor(answer)[:, None])[:, 0] - _known(model, probe.prompt, answer)).abs()
            for probe, answer, own in zip(probes, before.greedy, before.scores, strict=True)
        ]
        + [
            (known - _known(model, probe.prompt, probe.answer)).abs()
            for probe, known in zip(probes, before.known, strict=True)
        ]
    )
    mean, most = float(differences.mean()), float(differences.max())
    if not math.isfinite(mean):
        problem = "log-likelihoods of one of the two are not finite; look at the weights"
    elif not mean <= bound:
        problem = f"log-likelihoods differ by {mean:.2g} nats a token, {bound:.2g} are allowed in {_name(model.dtype)}"
    same = sum(theirs == ours for theirs, ours in zip(before.greedy, greedy, strict=True))
    return Parity(len(probes), same, undecided, differences.numel(), mean, most, bound, problem)


def tie(dtype: torch.dtype) -> float:
    """Below this margin, in nats, a precision leaves it open which of two tokens is the greedy one."""
    return _MEANS_OF_TIE * tolerance(dtype)


def margin_of_parting(theirs: Sequence[int], ours: Sequence[int], scores: torch.Tensor) -> float:
    """By how many nats `theirs` was decided where `ours` parts from it; 0 when it does not."""
    for place, (wanted, got) in enumerate(zip(theirs, ours, strict=False)):
        if wanted != got:
            # Two tokens may be exactly as likely; parting there is no sameness.
            return max(float(scores[place, wanted] - scores[place, got]), 1e-9)
    return 0.0


def _answer(model: Any, prompt: list[int], max_new_tokens: int) -> list[int]:
    ids = torch.tensor([prompt], device=model.device)
    made = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_new_tokens, do_sample=False
    )
    return made[0, len(prompt) :].tolist()


def _scores(model: Any, prompt: list[int], rest: list[int]) -> torch.Tensor:
    ids = torch.tensor([prompt + rest], device=model.device)
    logits = model(input_ids=ids, use_cache=False, logits_to_keep=len(rest) + 1).logits[0, :-1]
    return logits.float().log_softmax(-1).cpu()


def _known(model: Any, prompt: list[int], rest: list[int]) -> torch.Tensor:
    return _scores(model, prompt, rest).gather(1, torch.tensor(rest)[:, None])[:, 0]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
