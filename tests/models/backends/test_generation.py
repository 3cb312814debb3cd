"""Answers over shared segments are those of transformers' own `generate`, whatever is asked beside them."""

import random

import pytest
import torch
from small_models import MODELS, forked_rows, make_model, some_tokens

from calltune.models.backends.drawing import Answer, Drawing, numbers_for
from calltune.models.backends.generation import Generator, segment_fault
from calltune.models.backends.plain import PlainGenerator
from calltune.models.backends.segments import Written
from calltune.models.exactness import can_share

ENDS = set(range(3, 9))
SHAPES = {
    **MODELS,
    "qwen2, narrow windows": (
        "Qwen2",
        {"sliding_window": 6, "use_sliding_window": True, "max_window_layers": 1},
    ),
    "one key head": ("Llama", {"num_key_value_heads": 1}),
    "a key head each": ("Qwen3", {"num_key_value_heads": 4}),
}


def prompts_of(seed: int) -> list[list[int]]:
    """Two agents' prompts with long tools, of which some begin with one more text, and prompts of their own."""
    rng = random.Random(seed)
    tools, others, document = some_tokens(rng, 90), some_tokens(rng, 60), some_tokens(rng, 80)
    rows = [tools + some_tokens(rng, rng.randrange(1, 30)) for _ in range(6)]
    rows += [tools + document + some_tokens(rng, rng.randrange(1, 9)) for _ in range(3)]
    rows += [others + some_tokens(rng, rng.randrange(1, 30)) for _ in range(4)]
    rows += [tools, tools, *forked_rows(seed)]
    rng.shuffle(rows)
    return rows


def plain_generator(model: torch.nn.Module, bound: int = 4096) -> PlainGenerator:
    config = model.generation_config
    config.eos_token_id, config.pad_token_id, config.do_sample = sorted(ENDS), 0, False
    return PlainGenerator(model, ENDS, 0, bound)


def tokens_of(answers: list[list[Answer]]) -> list[list[list[int]]]:
    return [[answer.tokens for answer in own] for own in answers]


@pytest.mark.parametrize("family", SHAPES)
@torch.inference_mode()
def test_greedy_answers_are_those_of_generate(family: str) -> None:
    name, options = SHAPES[family]
    model = make_model(name, **options)
    assert can_share(model) is None
    assert segment_fault(model) is None
    prompts = prompts_of(1)
    expected = tokens_of(plain_generator(model).answers(prompts, 24))
    lengths = [len(answer) for (answer,) in expected]
    assert min(lengths) < max(lengths)
    for bound in (300, 2**15):
        generator = Generator(model, ENDS, 0, bound)
        assert tokens_of(generator.answers(prompts, 24)) == expected
        # Once more from what is kept, in pieces, in another order.
        order = random.Random(bound).sample(range(len(prompts)), len(prompts))
        for start in range(0, len(order), 7):
            part = order[start : start + 7]
            found = tokens_of(generator.answers([prompts[number] for number in part], 24))
            assert found == [expected[number] for number in part]


@pytest.mark.parametrize("family", ["qwen3", "mistral, narrow windows", "gemma3"])
@torch.inference_mode()
def test_drawn_answers_are_those_of_generate(family: str) -> None:
    name, options = SHAPES[family]
    model = make_model(name, **options)
    prompts = prompts_of(2)
    numbers = numbers_for(7, [str(number) for number in range(len(prompts))], 3, 24)
    drawing = Drawing(numbers, 3, 0.8, 0.9)
    expected = tokens_of(plain_generator(model).answers(prompts, 24, drawing))
    assert len({tuple(answer) for own in expected for answer in own}) > len(prompts)
    for bound in (500, 2**15):
        for merges in (True, False):
            generator = Generator(model, ENDS, 0, bound)
            generator.merges = merges
            assert tokens_of(generator.answers(prompts, 24, drawing)) == expected


@torch.inference_mode()
def test_what_is_no_number_spoils_its_own_answer_alone() -> None:
    model = make_model("Qwen3")
    prompts = prompts_of(3)
    expected = PlainGenerator(model, ENDS, 0, 1).answers(prompts, 8)
    bad = min(prompts, key=len)[-1]
    model.get_input_embeddings().weight[bad] = float("nan")
    answers = Generator(model, ENDS, 0, 2**15).answers(prompts, 8)
    assert len({answer.is_finite for (answer,) in answers}) == 2
    for prompt, (answer,), (clean,) in zip(prompts, answers, expected, strict=True):
        assert answer.is_finite is (bad not in prompt and bad not in clean.tokens[:-1])
        assert answer == clean or not answer.is_finite


@torch.inference_mode()
def test_what_prompts_share_is_computed_once_and_kept() -> None:
    model = make_model("Llama")
    seen = []
    model.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    rng = random.Random(0)
    tools, document = some_tokens(rng, 200), some_tokens(rng, 100)
    first = [tools + some_tokens(rng, 5) for _ in range(6)]
    more = [tools + document + some_tokens(rng, 5) for _ in range(6)]
    generator = Generator(model, (), 0, 2**15)
    generator.answers(first, 1)
    assert seen == [200, 6 * 5]
    seen.clear()
    generator.answers(first[::-1], 1)
    assert seen == [6 * 5]
    seen.clear()
    # The document is computed once, and what is no part of it is not computed with it.
    generator.answers(first[:3] + more, 1)
    assert seen == [100, 9 * 5]


@torch.inference_mode()
def test_finished_rows_leave_the_batch() -> None:
    model = make_model("Qwen3")
    prompts = prompts_of(4)
    rows = []
    model.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append((len(kwargs["input_ids"]), kwargs["segments"].own)), with_kwargs=True
    )
    answers = Generator(model, ENDS, 0, 2**15).answers(prompts, 24)
    steps = [count for count, own in rows if isinstance(own, Written)]
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] < len(prompts) / 2
    needed = sum(len(answer.tokens) - 1 for (answer,) in answers)
    assert needed <= sum(steps) <= 8 / 7 * needed + len(steps)


@torch.inference_mode()
def test_answers_are_one_row_while_they_are_the_same() -> None:
    model = make_model("Qwen3")
    prompts = prompts_of(5)
    # So cold that most of the answers to a prompt begin alike.
    drawing = Drawing(numbers_for(3, [str(number) for number in range(len(prompts))], 6, 24), 6, 0.03, 1.0)
    expected = plain_generator(model).answers(prompts, 24, drawing)
    rows = []
    model.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append((len(kwargs["input_ids"]), kwargs["segments"])), with_kwargs=True
    )
    answers = Generator(model, ENDS, 0, 2**15).answers(prompts, 24, drawing)
    assert tokens_of(answers) == tokens_of(expected)
    steps = [count for count, asked in rows if isinstance(asked.own, Written)]
    assert any(asked.slots for _, asked in rows)
    # What goes on from a token is computed once for all answers that have the same ones up to it.
    lengths = [[len(answer.tokens) for answer in own] for own in answers]
    needed = sum(
        len({tuple(answer.tokens[:count]) for answer in own for count in range(1, len(answer.tokens))})
        for own in answers
    )
    apart = sum(length - 1 for own in lengths for length in own)
    assert needed < 0.7 * apart
    assert needed <= sum(steps) <= 8 / 7 * needed + len(steps)


@torch.inference_mode()
def test_a_batch_that_outgrows_its_bound_is_parted() -> None:
    model = make_model("Qwen3")
    prompts = [some_tokens(random.Random(number), 6) for number in range(8)]
    expected = tokens_of(Generator(model, (), 0, 2**15).answers(prompts, 100))
    rows = []
    model.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append((len(kwargs["input_ids"]), kwargs["segments"].own)), with_kwargs=True
    )
    assert tokens_of(Generator(model, (), 0, 600).answers(prompts, 100)) == expected
    counts = [count for count, own in rows if isinstance(own, Written)]
    assert counts == [8] * 70 + [4] * 29 + [4] * 29
    drawing = Drawing(numbers_for(7, [str(number) for number in range(8)], 2, 100), 2, 0.8, 0.9)
    one_batch = tokens_of(Generator(model, (), 0, 2**15).answers(prompts, 100, drawing))
    assert tokens_of(Generator(model, (), 0, 600).answers(prompts, 100, drawing)) == one_batch
