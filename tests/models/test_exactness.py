"""The checks of packed rows: they find planted faults in every precision, and take no precision's noise for one."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from planted_faults import FAULTS, Tf32, one_wrong_key, plant, wrong_fork
from small_models import MODELS, forked_rows, make_model

from calltune.models.exactness import can_share, in_true_precision, is_checkable, noise_fault, wiring_fault
from calltune.models.kernel_check import kernel_fault
from calltune.models.prefix import ATTENTION, backbone_outputs, packed_attention, shared_attention
from calltune.models.trie import Packed

PRECISIONS = {
    "float32": (torch.float32, nullcontext),
    "tf32": (torch.float32, Tf32),
    "bf16": (torch.bfloat16, nullcontext),
    "fp16": (torch.float16, nullcontext),
    "bf16 by autocast": (torch.float32, lambda: torch.autocast("cpu", torch.bfloat16)),
}
ALL_FAULTS = [*FAULTS, "positions off by one"]


@pytest.fixture(params=PRECISIONS)
def precision(request: pytest.FixtureRequest) -> Any:
    return PRECISIONS[request.param]


@pytest.mark.parametrize("name", MODELS)
def test_noise_is_no_fault_of_the_wiring_and_weights_come_back(name: str, precision: Any) -> None:
    family, options = MODELS[name]
    model = make_model(family, **options).to(precision[0])
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with precision[1]():
        assert is_checkable(model)
        assert wiring_fault(model) is None
    after = model.state_dict()
    assert all(torch.equal(after[key], value) and after[key].dtype == value.dtype for key, value in before.items())


@pytest.mark.parametrize("fault", ALL_FAULTS)
@pytest.mark.parametrize("name", MODELS)
def test_faults_of_the_wiring_are_found(name: str, fault: str, precision: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    family, options = MODELS[name]
    model = make_model(family, **options).to(precision[0])
    plant(fault, model, ATTENTION, monkeypatch)
    with precision[1]():
        assert "other states than plain rows" in (wiring_fault(model) or "")


def test_a_fault_is_one_that_float64_shows_too() -> None:
    """States that hang on the last bits differ in float32 between plain rows of two lengths, too."""
    family, options = MODELS["qwen3"]
    model = make_model(family, **options).to(torch.bfloat16)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    seen: list[torch.dtype] = []

    def fault_in(*dtypes: torch.dtype) -> str | None:
        seen.append(model.dtype)
        return f"found in {model.dtype}" if model.dtype in dtypes else None

    assert in_true_precision(model, fault_in) is None
    assert seen == [torch.float32]
    assert in_true_precision(model, lambda: fault_in(torch.float32)) is None
    assert in_true_precision(model, lambda: fault_in(torch.float32, torch.float64)) == "found in torch.float32"
    assert seen[1:] == [torch.float32, torch.float64] * 2
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_what_listens_for_a_gradient_still_hears_it() -> None:
    """As DistributedDataParallel does, on the node that adds a gradient up."""
    family, options = MODELS["qwen3"]
    model = make_model(family, **options).to(torch.bfloat16)
    weights, heard = dict(model.named_parameters()), list[str]()
    nodes = []
    for name, weight in weights.items():
        node = weight.view_as(weight).grad_fn.next_functions[0][0]  # pyright: ignore[reportOptionalMemberAccess]
        node.register_hook(lambda *_, name=name: heard.append(name))
        nodes.append(node)
    places = {name: weight.data_ptr() for name, weight in weights.items()}
    assert wiring_fault(model) is None
    assert {name: weight.data_ptr() for name, weight in model.named_parameters()} == places
    model(input_ids=torch.tensor([[3, 4, 5]])).logits.sum().backward()
    assert sorted(heard) == sorted(weights)


def by_noise(model: Any) -> str | None:
    """What is compared where the weights cannot be had in float32."""

    def plain(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state

    def shared(packed: Packed) -> torch.Tensor:
        with shared_attention(model):
            return backbone_outputs(model, packed).last_hidden_state[0]

    return noise_fault(plain, shared, forked_rows(3), torch.device("cpu"))


@pytest.mark.parametrize("name", MODELS)
def test_noise_is_taken_for_noise(name: str, precision: Any) -> None:
    family, options = MODELS[name]
    with precision[1]():
        assert by_noise(make_model(family, **options).to(precision[0])) is None


@pytest.mark.parametrize("fault", ["a wrong fork", "positions off by one"])
@pytest.mark.parametrize("name", ["qwen3", "llama"])
def test_gross_faults_stand_out_from_noise(
    name: str, fault: str, precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    family, options = MODELS[name]
    model = make_model(family, **options).to(precision[0])
    plant(fault, model, ATTENTION, monkeypatch)
    with precision[1]():
        assert "other states than plain rows" in (by_noise(model) or "")


@pytest.mark.parametrize("rows", [[[5, 6, 7]], [[5, 6, 7, 8]] * 2, [[5, 6], [5, 6, 7]], [[1, 2], [3, 4], [3, 5]]])
def test_whatever_the_batch_two_rows_are_compared_in_four_passes(rows: list[list[int]]) -> None:
    model: Any = make_model("Qwen3")
    passes = []
    model.base_model.register_forward_hook(lambda *others: passes.append(1))

    def plain(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state

    def shared(packed: Packed) -> torch.Tensor:
        with shared_attention(model):
            return backbone_outputs(model, packed).last_hidden_state[0]

    assert noise_fault(plain, shared, rows, torch.device("cpu")) is None
    assert len(passes) == 4


def test_weights_that_cannot_be_had_in_float32_are_compared_by_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = make_model("Llama")
    monkeypatch.setattr(model.lm_head.weight, "ds_id", 1, raising=False)
    assert not is_checkable(model)
    assert can_share(model) is None
    plant("a wrong fork", model, ATTENTION, monkeypatch)
    assert "other states than plain rows" in (can_share(model) or "")


def test_a_model_that_only_answers_is_checked_too() -> None:
    model: Any = make_model("Qwen3").to(torch.bfloat16)
    with torch.inference_mode():
        assert can_share(model) is None
        states = model.base_model(torch.tensor([[1, 2, 3]]), use_cache=False).last_hidden_state
    assert states.dtype == torch.bfloat16
    assert not any(weight.is_inference() for weight in model.parameters())


def test_states_that_are_not_finite_are_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = make_model("Llama")
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = torch.nan
    assert "not finite" in (wiring_fault(model) or "")
    assert "not finite" in (by_noise(model) or "")


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, packed: Packed, window: int | None
) -> torch.Tensor:
    module = torch.nn.Module()
    outputs, _ = packed_attention(module, query, key, value, None, sliding_window=window, shared_prefixes=packed)
    return outputs.transpose(1, 2)


KERNEL_DTYPES = {name: PRECISIONS[name] for name in ("float32", "tf32", "bf16", "fp16")}


@pytest.mark.parametrize("heads", [(4, 4, 64), (9, 3, 64), (8, 1, 128)])
@pytest.mark.parametrize("name", KERNEL_DTYPES)
def test_a_kernel_s_faults_are_found_and_its_noise_is_not(name: str, heads: tuple[int, int, int]) -> None:
    dtype, around = KERNEL_DTYPES[name]
    device = torch.device("cpu")
    with around():
        for window in (None, 60):
            assert kernel_fault(attend, heads, window, dtype, device) is None
        for fault in (one_wrong_key, wrong_fork):

            def wrong(*inputs: Any, to: Any = fault) -> torch.Tensor:
                *rest, packed, window = inputs
                return attend(*rest, to(packed), window)

            assert "its outputs are off by" in (kernel_fault(wrong, heads, None, dtype, device) or "")
        # Positions are a kernel's only for its window.
        off = kernel_fault(lambda q, k, v, packed, w: attend(q, k, v, packed, w and w + 1), heads, 60, dtype, device)
        assert "its outputs are off by" in (off or "")
