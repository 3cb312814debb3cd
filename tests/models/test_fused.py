"""Fused kernels: laid over one model where they are right, lifted where they are not, and told either way."""

import gc
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import make_model
from transformers.models.qwen3 import modeling_qwen3

from calltune.models import fused
from calltune.models.backends.hf import Backend
from calltune.models.fused import Laid, fuse
from calltune.types import Message, Sample, ScoringRequest

# torch's compiler imports what torch itself deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for a CPU with g++")


def states(model: Any) -> torch.Tensor:
    ids = torch.arange(1, 41).view(2, 20)
    return model(input_ids=ids).logits.detach()


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_norms_and_mlps_are_right(dtype: torch.dtype) -> None:
    model = make_model("Qwen3").to(dtype)
    plain = states(model)
    laid = fuse(model, "compile", torch.bfloat16 if dtype == torch.bfloat16 else None)
    # Two norms of a layer, two of its attention, an MLP, three times, and the last norm.
    assert laid.told == "compile (16 modules)"
    assert "forward" in vars(model.model.norm)
    assert float((states(model) - plain).abs().max()) <= (1e-4 if dtype == torch.float32 else 0.1) * float(
        plain.abs().max()
    )


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module of Liger's name and shape, whose kernels are plain torch: what is tested is how they are laid."""
    library = types.ModuleType("liger_kernel.transformers.monkey_patch")

    class Norm(torch.nn.Module):
        def forward(self, states: torch.Tensor) -> torch.Tensor:
            wide = states.float()
            normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
            return self.weight * (normed * library.scale).to(states.dtype)

    def rotated(q, k, cos, sin, unsqueeze_dim=1):
        cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
        half = q.shape[-1] // 2
        turned = [torch.cat((-each[..., half:], each[..., :half]), -1) for each in (q, k)]
        return q * cos + turned[0] * sin * library.turn, k * cos + turned[1] * sin

    def apply(model: Any, **kernels: bool) -> None:
        assert kernels == {
            "rope": True,
            "rms_norm": True,
            "swiglu": True,
            "cross_entropy": False,
            "fused_linear_cross_entropy": False,
        }
        # As Liger does it: the file's class and function, and each norm of the model that is there.
        modeling_qwen3.Qwen3RMSNorm = Norm  # type: ignore[misc]
        modeling_qwen3.apply_rotary_pos_emb = library.rotated
        for module in model.modules():
            if type(module).__name__ == "Qwen3RMSNorm":
                module.__dict__["forward"] = types.MethodType(Norm.forward, module)
                module.offset = 0.0
        if library.fails:
            raise AttributeError("no such layer")

    library.scale, library.turn, library.fails = 1.0, 1.0, False  # type: ignore[attr-defined]
    library.rotated = rotated  # type: ignore[attr-defined]
    library.MODEL_TYPE_TO_APPLY_LIGER_FN = {"qwen3": apply}  # type: ignore[attr-defined]
    library._apply_liger_kernel_to_instance = apply  # type: ignore[attr-defined]
    for name in ("liger_kernel", "liger_kernel.transformers"):
        package = types.ModuleType(name)
        package.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
        monkeypatch.setitem(sys.modules, name, package)
    monkeypatch.setitem(sys.modules, library.__name__, library)
    return library


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_liger_is_laid_over_one_model_and_gone_with_it(dtype: torch.dtype, pretended: types.ModuleType) -> None:
    norm, rotary = modeling_qwen3.Qwen3RMSNorm, modeling_qwen3.apply_rotary_pos_emb
    model = make_model("Qwen3").to(dtype)
    plain = states(model)
    laid = fuse(model, "liger", torch.bfloat16 if dtype == torch.bfloat16 else None)
    assert laid.told == "liger (13 modules, apply_rotary_pos_emb)"
    assert modeling_qwen3.apply_rotary_pos_emb is not rotary
    assert float((states(model) - plain).abs().max()) <= 0.1 * float(plain.abs().max())
    # Models that are made later are made of the file's own classes.
    assert modeling_qwen3.Qwen3RMSNorm is norm
    del model
    gc.collect()
    assert modeling_qwen3.apply_rotary_pos_emb is rotary


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "a norm that is too large": ({"scale": 1.02}, "Qwen3RMSNorm: its outcome is off by 0.02, where the precision"),
    "a rotation that is too weak": ({"turn": 0.97}, "apply_rotary_pos_emb: its outcome is off by 0.0"),
    "one that fails on the way": ({"fails": True}, "AttributeError: no such layer"),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("planted", "line"), FAULTS.values(), ids=FAULTS.keys())
def test_kernels_that_are_wrong_are_lifted_and_told(
    planted: dict[str, Any], line: str, dtype: torch.dtype, pretended: types.ModuleType
) -> None:
    vars(pretended).update(planted)
    norm, rotary = modeling_qwen3.Qwen3RMSNorm, modeling_qwen3.apply_rotary_pos_emb
    model = make_model("Qwen3").to(dtype)
    plain = states(model)
    before = [dict(vars(each)) for each in model.modules()]
    laid = fuse(model, "liger", torch.bfloat16 if dtype == torch.bfloat16 else None)
    assert laid.kind == "off"
    assert laid.told.startswith(f"none (liger is left out: {line}")
    assert (modeling_qwen3.Qwen3RMSNorm, modeling_qwen3.apply_rotary_pos_emb) == (norm, rotary)
    assert all(vars(each).keys() == old.keys() for each, old in zip(model.modules(), before, strict=True))
    assert torch.equal(states(model), plain)


def test_a_model_that_liger_does_not_know_is_told(pretended: types.ModuleType) -> None:
    pretended.MODEL_TYPE_TO_APPLY_LIGER_FN = {}  # type: ignore[attr-defined]
    assert fuse(make_model("Qwen3"), "liger", None).told == "none (liger-kernel does not know 'qwen3')"
    assert fuse(make_model("Qwen3"), "auto", None).told == "none (on a CPU)"
    assert fuse(make_model("Qwen3"), "off", None).told == "none (as the run file says)"


@needs_compiler
def test_what_is_not_faster_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The times themselves are a device's; which of two is taken is not."""
    from calltune.models import fused_check

    model = make_model("Qwen3")
    laid = Laid(modeling_qwen3)
    fused._record(model, laid, lambda: fused._compile(model))
    is_gain, words = fused_check.is_faster(model, laid, None)
    after, before = (float(each) for each in words.split(" for ")[0].replace(" ms", "").split(" instead of "))
    assert is_gain == (after < before)
    assert min(after, before) > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("planted", "line"), FAULTS.values(), ids=FAULTS.keys())
def test_what_is_wrong_forward_is_lifted_from_a_model_that_is_asked(
    planted: dict[str, Any], line: str, dtype: torch.dtype, pretended: types.ModuleType
) -> None:
    vars(pretended).update(planted)
    model = make_model("Qwen3").to(dtype)
    laid = fuse(model, "liger", None, with_gradients=False)
    assert laid.told.startswith(f"none (liger is left out: {line}")
    assert modeling_qwen3.apply_rotary_pos_emb.__module__ == modeling_qwen3.__name__


def test_forward_alone_asks_no_gradient_and_one_new_token_too(pretended: types.ModuleType) -> None:
    """A kernel without a backward pass will do, and one that cannot take a single token will not."""
    rotated, widths = pretended.rotated, []  # type: ignore[attr-defined]

    def forward_alone(q: Any, k: Any, cos: Any, sin: Any, unsqueeze_dim: int = 1) -> Any:
        assert not torch.is_grad_enabled()
        widths.append(q.shape[2])
        return rotated(q, k, cos, sin, unsqueeze_dim)

    pretended.rotated = forward_alone  # type: ignore[attr-defined]
    model = make_model("Qwen3")
    assert fuse(model, "liger", None, with_gradients=False).kind == "liger"
    assert set(widths) == {48, 1}
    # As it is trained, it is not right: it stops at the assertion.
    assert fuse(make_model("Qwen3"), "liger", None).told.startswith("none (liger is left out: AssertionError")


def test_two_models_keep_their_kernels_until_the_last_is_gone(pretended: types.ModuleType) -> None:
    rotary = modeling_qwen3.apply_rotary_pos_emb
    first, second = make_model("Qwen3"), make_model("Qwen3")
    told = [fuse(model, "liger", None, with_gradients=False).told for model in (first, second)]
    assert told == ["liger (13 modules, apply_rotary_pos_emb)"] * 2
    del first
    gc.collect()
    assert modeling_qwen3.apply_rotary_pos_emb is pretended.rotated  # type: ignore[attr-defined]
    del second
    gc.collect()
    assert modeling_qwen3.apply_rotary_pos_emb is rotary


def test_scores_and_answers_are_the_same_with_them(pretended: types.ModuleType, tiny_model: Path) -> None:
    requests = [ScoringRequest("What is the time?", ("It is nine.", "I do not know.")), ScoringRequest("Hi", ("Ho",))]
    samples = [Sample(str(n), "toy", (Message("user", words),), (), "") for n, words in enumerate(("Hi", "And you?"))]
    found = []
    for is_laid in (False, True):
        backend = Backend(str(tiny_model), 4096)
        if is_laid:
            assert fuse(backend._model, "liger", None, with_gradients=False).told.startswith("liger (")
        scores = [value for values in backend.loglikelihood(requests) for value in values]
        found.append((scores, [answer.text for answer in backend.answer(samples, 8)]))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
    assert found[1][1] == found[0][1]
