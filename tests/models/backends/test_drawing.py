"""Answers drawn at random: with the right probabilities, and the same whatever else is asked."""

from pathlib import Path

import pytest
import torch

from calltune.data.sources import synthetic
from calltune.errors import ConfigError
from calltune.models.backends.drawing import Draw, numbers_for
from calltune.models.backends.hf import Backend
from calltune.models.backends.openai import Backend as OpenAIBackend
from calltune.models.backends.openai import Settings
from calltune.models.backends.tokens import completion
from calltune.models.load import load_model
from calltune.types import Completion, Sample, Sampling


def questions(count: int) -> list[Sample]:
    return [
        Sample(example.id, "toy", example.prompt, example.tools, example.behavior)
        for example in synthetic.examples(seed=4, num_examples=count)
    ]


def drawn(logits: list[float], numbers: torch.Tensor, temperature: float, top_p: float) -> list[int]:
    scores = torch.tensor([logits]).repeat(len(numbers), 1)
    prompts = torch.zeros(len(numbers), 3, dtype=torch.long)
    left = Draw(numbers[:, None], 3, temperature, top_p)(prompts, scores)  # pyright: ignore[reportArgumentType]
    assert (left == 0).sum() == len(numbers)
    assert torch.isneginf(left).sum() == left.numel() - len(numbers)
    return left.argmax(-1).tolist()


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (2.0, 0.8), (1.0, 0.3)])
def test_tokens_come_as_often_as_their_probability_says(temperature: float, top_p: float) -> None:
    logits = [0.3, 2.0, -1.0, 1.0, 0.0]
    probabilities = (torch.tensor(logits) / temperature).softmax(-1)
    kept, total = set[int](), 0.0
    for token in probabilities.argsort(descending=True).tolist():
        if total < top_p:
            kept.add(token)
            total += float(probabilities[token])
    numbers = (torch.arange(10_000) + 0.5) / 10_000
    tokens = drawn(logits, numbers, temperature, top_p)
    for token in range(5):
        expected = float(probabilities[token]) / total if token in kept else 0.0
        assert tokens.count(token) / len(tokens) == pytest.approx(expected, abs=2e-4)


def test_a_number_of_one_draws_a_kept_token() -> None:
    assert drawn([0.0, 5.0, 1.0], torch.tensor([1.0, 0.0]), 1.0, 0.5) == [1, 1]


def one_by_one(folder: Path, sample: Sample, count: int, answer: int, seed: int) -> Completion:
    """No batch, no cache, no padding: each token drawn after a forward pass of its own."""
    backend, model = Backend(str(folder), 4096), load_model(str(folder), torch.float32)
    tokens: list[int] = []
    ids = backend.chat.tokenizer(backend.chat.prompt(sample.messages, sample.tools)).input_ids
    for number in numbers_for(seed, [sample.id], answer + 1, count)[answer].tolist():
        with torch.no_grad():
            logits = model(torch.tensor([ids + tokens])).logits[0, -1]
        tokens += drawn(logits.tolist(), torch.tensor([number]), 0.9, 0.95)
        if tokens[-1] in backend._ends:
            break
    return completion(backend.chat, backend._ends, sample, tokens)


def test_answers_are_those_of_a_plain_forward(tiny_model: Path) -> None:
    samples = questions(3)
    answers = Backend(str(tiny_model), 4096).sample(samples, 6, Sampling(2, 0.9, 0.95, seed=7))
    for sample, pair in zip(samples, answers, strict=True):
        assert pair == [one_by_one(tiny_model, sample, 6, answer, seed=7) for answer in range(2)]


def test_answers_depend_on_seed_and_question_alone(tiny_model: Path) -> None:
    samples, first = questions(5), Sampling(3, seed=1)
    backend = Backend(str(tiny_model), 16_384)
    together = backend.sample(samples, 5, first)
    assert backend.sample(samples, 5, first) == together
    small = Backend(str(tiny_model), 256)
    assert small.sample(samples[::-1], 5, first) == together[::-1]
    assert backend.sample(samples[2:3], 5, first) == together[2:3]
    assert backend.sample(samples, 5, Sampling(3, seed=2)) != together
    assert len({answer.text for answers in together for answer in answers}) == 15
    assert backend.sample([], 5, first) == []


def test_greedy_answers_are_the_same_after_drawing(tiny_model: Path) -> None:
    samples, backend = questions(3), Backend(str(tiny_model), 8192)
    before = backend.answer(samples, max_new_tokens=6)
    backend.sample(samples, 6, Sampling(2))
    assert backend.answer(samples, max_new_tokens=6) == before


def test_a_server_draws_none() -> None:
    backend = OpenAIBackend("m", 1024, Settings(base_url="http://127.0.0.1:9/v1"))
    with pytest.raises(ConfigError, match="'mine' needs the backend 'hf' or 'vllm'"):
        backend.sample(questions(1), 5, Sampling(2))
