"""Hybrid models go on from copies of what they keep, and score and answer as row by row."""

import random
from typing import Any

import pytest
import torch
from small_models import make_model, some_tokens

from calltune.models.backends.drawing import Answer, Drawing, numbers_for
from calltune.models.backends.plain import PlainGenerator
from calltune.models.backends.state_check import state_fault
from calltune.models.backends.state_generation import StateGenerator
from calltune.models.backends.states import States
from calltune.models.layer_kinds import is_hybrid, layer_kinds

LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "head_dim": 16,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
KINDS = ["linear_attention", "full_attention", "linear_attention"]
HYBRIDS: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3.5": ("Qwen3_5", {**LINEAR, "layer_types": KINDS}),
    "qwen3-next": (
        "Qwen3Next",
        {**LINEAR, **EXPERTS, "shared_expert_intermediate_size": 16, "layer_types": KINDS},
    ),
    "lfm2": ("Lfm2", {"layer_types": ["conv", "full_attention", "conv"]}),
    "lfm2, attention first": ("Lfm2", {"layer_types": ["full_attention", "conv", "conv"]}),
}
ENDS = set(range(3, 9))


def hybrid(family: str, spread: float = 0.3) -> Any:
    name, options = HYBRIDS[family]
    model = make_model(name, **options, initializer_range=spread)
    assert is_hybrid(model)
    return model


def pairs_of(seed: int) -> list[tuple[list[int], list[int]]]:
    """Questions to two agents, of many lengths, some inside others, and some with nothing in common; shuffled."""
    rng = random.Random(seed)
    tools, others, document = some_tokens(rng, 90), some_tokens(rng, 60), some_tokens(rng, 80)
    contexts = [tools + some_tokens(rng, rng.randrange(1, 30)) for _ in range(4)]
    contexts += [tools + some_tokens(rng, 12) for _ in range(3)]
    contexts += [tools + document + some_tokens(rng, rng.randrange(1, 9)) for _ in range(3)]
    contexts += [others + some_tokens(rng, rng.randrange(1, 30)) for _ in range(3)]
    contexts += [tools, tools + document, some_tokens(rng, 2), some_tokens(rng, 3), some_tokens(rng, 40)]
    pairs = [(context, some_tokens(rng, rng.choice([1, 2, 7, 30]))) for context in contexts for _ in range(4)]
    rng.shuffle(pairs)
    return pairs


@torch.inference_mode()
def scores(model: Any, pairs: list[tuple[list[int], list[int]]], bound: int) -> list[float]:
    sums = [float("nan")] * len(pairs)
    for numbers, outputs in States(model, 0, bound).scored(pairs):
        logprobs = model.lm_head(outputs.last_hidden_state).double().log_softmax(-1)
        for row, number in enumerate(numbers):
            sums[number] = float(sum(logprobs[row, place, token] for place, token in enumerate(pairs[number][1])))
    return sums


@torch.inference_mode()
def plain_score(model: Any, context: list[int], rest: list[int]) -> float:
    logits = model(torch.tensor([context + rest[:-1]]), use_cache=False).logits[0, -len(rest) :]
    logprobs = logits.double().log_softmax(-1)
    return float(sum(row[token] for row, token in zip(logprobs, rest, strict=True)))


# Plain rows with and without padding differ by as much: with wider weights, or with experts between which a model is
# undecided, by more.
@pytest.mark.parametrize(
    ("family", "allowed"), [(family, 3e-6 if family == "qwen3-next" else 1e-6) for family in HYBRIDS]
)
def test_scores_are_those_of_rows_alone(family: str, allowed: float) -> None:
    model = hybrid(family, spread=0.1)
    assert state_fault(model) is None
    pairs = pairs_of(1)
    expected = [plain_score(model, *pair) for pair in pairs]
    for bound in (1, 700, 2**14):
        assert scores(model, pairs, bound) == pytest.approx(expected, rel=allowed, abs=0)


def generators(model: Any, bound: int) -> list[Any]:
    config = model.generation_config
    config.eos_token_id, config.pad_token_id, config.do_sample = sorted(ENDS), 0, False
    return [PlainGenerator(model, ENDS, 0, bound), StateGenerator(model, ENDS, 0, bound)]


def tokens_of(answers: list[list[Answer]]) -> list[list[list[int]]]:
    return [[answer.tokens for answer in own] for own in answers]


@pytest.mark.parametrize("family", HYBRIDS)
@torch.inference_mode()
def test_answers_are_those_of_generate(family: str) -> None:
    model = hybrid(family)
    prompts = [context for context, _ in pairs_of(2)[::3]] + [[5], [6]]
    alone, _ = generators(model, 1)
    expected = tokens_of(alone.answers(prompts, 12))
    assert len({len(own) for (own,) in expected}) > 1
    for bound in (300, 2**14):
        _, shared = generators(model, bound)
        assert tokens_of(shared.answers(prompts, 12)) == expected


@torch.inference_mode()
def test_drawn_answers_are_those_of_generate() -> None:
    model = hybrid("qwen3.5")
    prompts = [context for context, _ in pairs_of(3)[::6]] + [[5]]
    numbers = numbers_for(7, [str(number) for number in range(len(prompts))], 3, 8)
    drawing = Drawing(numbers, 3, 0.8, 0.9)
    plain, shared = generators(model, 500)
    expected = tokens_of(plain.answers(prompts, 8, drawing))
    assert len({tuple(answer) for own in expected for answer in own}) > len(prompts)
    assert tokens_of(shared.answers(prompts, 8, drawing)) == expected


def test_what_contexts_share_is_computed_once() -> None:
    model = hybrid("lfm2", spread=0.1)
    rng = random.Random(0)
    tools = some_tokens(rng, 100)
    contexts = [tools + some_tokens(rng, 21) for _ in range(30)]
    pairs = [(context, some_tokens(rng, 4)) for context in contexts for _ in range(4)]
    expected = [plain_score(model, *pair) for pair in pairs]
    seen = []
    model.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    assert scores(model, pairs, 2**14) == pytest.approx(expected, rel=1e-6, abs=0)
    # At most 512 tokens go side by side; the last token of a context is computed with each of its answers.
    assert seen == [100, 25 * 20, 5 * 20, 120 * 4]


@pytest.mark.parametrize("family", ["qwen3.5", "lfm2"])
def test_a_model_that_does_not_go_on_from_its_cache_is_told(family: str) -> None:
    model = hybrid(family)
    layer = next(module for name, module in model.named_modules() if name.endswith(("linear_attn", "conv")))
    own = layer.forward
    # As if it had forgotten what came before.
    layer.forward = lambda hidden_states, attention_mask=None, **others: own(hidden_states)
    fault = state_fault(model)
    assert fault is not None
    assert "its states are others when rows go on from what they share" in fault


def test_weights_that_are_no_numbers_are_told() -> None:
    model = hybrid("lfm2")
    with torch.no_grad():
        next(model.base_model.parameters())[0] = float("nan")
        next(model.base_model.parameters())[5] = float("nan")
    assert "not finite" in (state_fault(model) or "")


def test_kinds_of_layers() -> None:
    assert layer_kinds(hybrid("qwen3.5")) == KINDS
    for family, options in (("Llama", {}), ("Mistral", {"sliding_window": 7})):
        model = make_model(family, **options)
        assert not is_hybrid(model)
        assert set(layer_kinds(model)) <= {"full_attention", "sliding_attention"}
