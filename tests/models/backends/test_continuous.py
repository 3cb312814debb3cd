"""Continuous batching by transformers gives the same answers, and is left out where it does not."""

import random
import time

import pytest
import torch
from small_models import MODELS, make_model, some_tokens

from calltune.models.backends.continuous import Chosen, ContinuousGenerator, answer_fault, has_continuous
from calltune.models.backends.drawing import Answer, Drawing, numbers_for
from calltune.models.backends.generation import Generator

ENDS = set(range(3, 9))
SMALL = {"num_blocks": 64, "max_batch_tokens": 256, "page_size": 16}


def agent_prompts(count: int) -> list[list[int]]:
    rng = random.Random(count)
    tools = some_tokens(rng, 60)
    return [tools + some_tokens(rng, rng.randrange(1, 20)) for _ in range(count)]


@pytest.mark.parametrize("family", ["qwen3", "gemma3", "mistral, narrow windows"])
@torch.inference_mode()
def test_answers_are_the_same(family: str) -> None:
    name, options = MODELS[family]
    model = make_model(name, **options)
    assert has_continuous(model)
    attention = model.config._attn_implementation
    continuous, usual = ContinuousGenerator(model, ENDS, 0, **SMALL), Generator(model, ENDS, 0, 4096)
    prompts = agent_prompts(7)
    assert answer_fault(continuous, usual, prompts, 12) is None
    assert model.config._attn_implementation == attention
    other = Generator(make_model(name, **options, num_attention_heads=2), ENDS, 0, 4096)
    assert "answers are others" in str(answer_fault(continuous, other, prompts, 12))


class Counted:
    """A generator that counts what it is asked, and may be slow."""

    def __init__(self, generator: Generator, seconds: float) -> None:
        self._generator, self._seconds, self.counts = generator, seconds, []

    def answers(self, prompts: list[list[int]], room: int, drawing: Drawing | None = None) -> list[list[Answer]]:
        time.sleep(self._seconds)
        self.counts.append(len(prompts))
        return self._generator.answers(prompts, room, drawing)


@pytest.mark.parametrize(("seconds", "is_chosen"), [(0.0, False), (9.0, True)])
@torch.inference_mode()
def test_the_faster_one_is_chosen(seconds: float, is_chosen: bool, capsys: pytest.CaptureFixture[str]) -> None:
    model = make_model("Qwen3")
    usual = Counted(Generator(model, ENDS, 0, 4096), seconds)
    chosen = Chosen(ContinuousGenerator(model, ENDS, 0, **SMALL), usual)
    prompts = agent_prompts(16)
    expected = Generator(model, ENDS, 0, 4096).answers(prompts, 6)
    assert chosen.answers(prompts, 6) == expected
    said = capsys.readouterr().out
    assert ("answers come by continuous batching" in said) is is_chosen
    assert ("continuous batching is left out: 16 prompts took" in said) is not is_chosen
    drawing = Drawing(numbers_for(1, ["a"] * 16, 2, 6), 2, 1.0, 1.0)
    assert [len(own) for own in chosen.answers(prompts, 6, drawing)] == [2] * 16
    assert usual.counts[-1] == 16


@torch.inference_mode()
def test_what_is_no_number_is_told_of_its_own_answer_alone(capsys: pytest.CaptureFixture[str]) -> None:
    model = make_model("Qwen3")
    usual = Generator(model, ENDS, 0, 4096)
    chosen = Chosen(ContinuousGenerator(model, ENDS, 0, **SMALL), Counted(usual, 6.0))
    prompts = [[min(token, 95) for token in prompt] for prompt in agent_prompts(16)]
    chosen.answers(prompts, 6)
    assert "answers come by continuous batching" in capsys.readouterr().out
    prompts[0].append(96)
    model.get_input_embeddings().weight[96] = float("nan")
    answers = chosen.answers(prompts, 6)
    assert answers == usual.answers(prompts, 6)
    assert answers[0][0].is_finite is False
    assert any(answer.is_finite for (answer,) in answers)
    assert capsys.readouterr().out == ""
