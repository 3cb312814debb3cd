"""Fused kernels: a norm, an MLP's gate or a rotary embedding in one pass over memory, instead of one an operation.

On a GPU what lies between the matrices takes about as long as they do. Liger's Triton kernels are laid over one model
where they are installed; else torch compiles its norms and MLPs, where that is faster. Both are asked first whether
they are right (`calltune.models.fused_check`), and lifted again where they are not. No class is changed. Liger's
rotary embedding is a function of the model's module in transformers, which is put back when the last model over which
it was laid is collected.
"""

import importlib.util
import sys
import types
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from calltune.models.fused_check import fused_fault, is_faster
from calltune.models.prefix import shared_attention

Asked = Literal["auto", "liger", "compile", "off"]

_MISSING = object()

# By file and name, how many models live over which a function was laid, and the function that was there before.
_HELD: dict[tuple[types.ModuleType, str], tuple[int, Any]] = {}

# What a kernel raises that does not take its input, or a compiler that cannot compile it.
_REFUSALS = (RuntimeError, AssertionError, AttributeError, ImportError, LookupError, OSError, TypeError, ValueError)


@dataclass(slots=True)
class Laid:
    """What was put in the place of something else: attributes of modules, and functions of transformers' file.

    `modules` holds for each module its new attributes and those before.
    """

    home: types.ModuleType
    modules: dict[torch.nn.Module, tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=dict)
    functions: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def lay(self) -> None:
        """Put everything in its place."""
        for module, (new, _) in self.modules.items():
            vars(module).update(new)
        for name, (new, _) in self.functions.items():
            setattr(self.home, name, new)

    def lift(self) -> None:
        """Put back what was there before."""
        for module, (new, old) in self.modules.items():
            for name in new:
                vars(module).pop(name, None)
            vars(module).update({name: value for name, value in old.items() if value is not _MISSING})
        _put_back(self.home, self.functions)

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Compute for a moment as before."""
        self.lift()
        try:
            yield
        finally:
            self.lay()

    @property
    def computing(self) -> list[torch.nn.Module]:
        """The modules that compute in another way."""
        return [module for module, (new, _) in self.modules.items() if "forward" in new]


@dataclass(frozen=True, slots=True)
class Fused:
    """The kind of kernels that was laid over a model, and a few words on it."""

    kind: Literal["liger", "compile", "off"]
    why: str

    @property
    def told(self) -> str:
        """Both, for the user: `liger (57 modules, apply_rotary_pos_emb)`, `none (on a CPU)`."""
        return f"{self.kind.replace('off', 'none')} ({self.why})"


def _put_back(home: types.ModuleType, functions: Mapping[str, tuple[Any, Any]]) -> None:
    for name, (new, old) in functions.items():
        if getattr(home, name) is new:
            setattr(home, name, old)


def _hold(inner: torch.nn.Module, laid: Laid) -> None:
    """Keep a model's functions in their place as long as it lives."""
    for name, (_, old) in laid.functions.items():
        count, _ = _HELD.get((laid.home, name), (0, None))
        _HELD[laid.home, name] = (count + 1, old)
    weakref.finalize(inner, _let_go, laid.home, laid.functions)


def _let_go(home: types.ModuleType, functions: Mapping[str, tuple[Any, Any]]) -> None:
    for name, pair in functions.items():
        count, old = _HELD.pop((home, name))
        if count > 1:
            _HELD[home, name] = (count - 1, old)
        else:
            _put_back(home, {name: pair})


def fuse(
    model: torch.nn.Module,
    asked: Asked,
    dtype: torch.dtype | None,
    is_spread: bool = False,
    with_gradients: bool = True,
) -> Fused:
    """Lay fused kernels over a model, before shared prefixes and before it is wrapped.

    Args:
        asked: a kind, which is taken where it is right, or `auto`: Liger's on a GPU where they are there for this kind
            of model, else compiled ones where they are faster; none on a CPU.
        dtype: autocast's, None without.
        with_gradients: whether the model is to be trained; else kernels are asked forward alone, for one new token too.
    """
    inner: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    if asked == "off":
        return Fused("off", "as the run file says")
    if is_spread:
        return Fused("off", "not tested with FSDP and DeepSpeed")
    if asked == "auto" and inner.device.type != "cuda":
        return Fused("off", "on a CPU")
    why_compiled = ""
    if asked in ("auto", "liger"):
        applied = _liger(inner)
        if callable(applied):
            return _checked(inner, "liger", applied, dtype, with_gradients)
        if asked == "liger":
            return Fused("off", applied)
        why_compiled = f"{applied}; "
    fused = _checked(inner, "compile", lambda: _compile(inner), dtype, with_gradients, must_be_faster=asked == "auto")
    return Fused(fused.kind, why_compiled + fused.why)


def _checked(
    inner: Any,
    kind: Literal["liger", "compile"],
    apply: Callable[[], None],
    dtype: torch.dtype | None,
    with_gradients: bool,
    must_be_faster: bool = False,
) -> Fused:
    home = sys.modules[type(inner).__module__]
    laid, was_training = Laid(home), inner.training
    try:
        _record(inner, laid, apply)
        if not laid.computing:
            return Fused("off", f"{kind} has none for {type(inner).__name__}")
        inner.eval()
        # FlashAttention does not take float32, with which everything is compared.
        attention = "eager" if inner.config._attn_implementation == "eager" else "sdpa"
        with shared_attention(inner, attention):
            fault = fused_fault(inner, laid, dtype, with_gradients)
            if fault is None and must_be_faster:
                is_gain, words = is_faster(inner, laid, dtype)
                fault = None if is_gain else f"it is not faster: {words}"
    except _REFUSALS as error:
        fault = f"{type(error).__name__}: {(str(error).strip().splitlines() or ['?'])[0][:200]}"
    finally:
        inner.train(was_training)
    if fault is not None:
        laid.lift()
        return Fused("off", f"{kind} is left out: {fault}")
    if laid.functions:
        _hold(inner, laid)
    return Fused(kind, f"{len(laid.computing)} modules" + "".join(f", {name}" for name in laid.functions))


def _record(inner: PreTrainedModel, laid: Laid, apply: Callable[[], None]) -> None:
    """Apply what changes a model, and write down what it changed, even where it fails on the way."""
    modules = list(inner.modules())
    # Another model may have put the same ones there.
    for (home, name), (_, old) in _HELD.items():
        if home is laid.home:
            setattr(home, name, old)
    before, globals_before = [dict(vars(each)) for each in modules], dict(vars(laid.home))
    try:
        apply()
    finally:
        for module, old in zip(modules, before, strict=True):
            new = {name: value for name, value in vars(module).items() if old.get(name, _MISSING) is not value}
            if new:
                laid.modules[module] = (new, {name: old.get(name, _MISSING) for name in new})
        for name, value in list(vars(laid.home).items()):
            was = globals_before.get(name, _MISSING)
            if was is value or was is _MISSING:
                continue
            if isinstance(was, type):
                # Models that are loaded later are made of their own classes.
                setattr(laid.home, name, was)
            else:
                laid.functions[name] = (value, was)


def _liger(inner: PreTrainedModel) -> Callable[[], None] | str:
    """What lays Liger's kernels over a model, or why there is none."""
    if importlib.util.find_spec("liger_kernel") is None:
        return "liger-kernel is not installed"
    try:
        from liger_kernel.transformers.monkey_patch import (  # type: ignore[import-not-found]
            MODEL_TYPE_TO_APPLY_LIGER_FN,
            _apply_liger_kernel_to_instance,
        )
    except _REFUSALS as error:
        return f"liger-kernel cannot be loaded ({type(error).__name__}: {str(error).splitlines()[0][:200]})"
    if inner.config.model_type not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        return f"liger-kernel does not know '{inner.config.model_type}'"
    # Loss and head stay TRL's, which computes them where a label is.
    kernels = {"rope": True, "rms_norm": True, "swiglu": True}
    without = {"cross_entropy": False, "fused_linear_cross_entropy": False}
    return lambda: _apply_liger_kernel_to_instance(model=inner, **kernels, **without)


def _compile(inner: PreTrainedModel) -> None:
    """Give norms and MLPs a compiled forward, one for each class, for rows of any length."""
    # Said of every state between two layers, by the compiler's own look at it; nobody asks for these gradients.
    warnings.filterwarnings(
        "ignore", message="The .grad attribute of a Tensor that is not a leaf", category=UserWarning
    )
    compiled: dict[type, Any] = {}
    for module in inner.modules():
        kind = type(module)
        if not kind.__name__.endswith(("RMSNorm", "LayerNorm", "MLP")) or "forward" in vars(module):
            continue
        # Adapters and 4-bit matrices compute with Python of their own.
        weighted = [each for each in module.children() if next(each.parameters(), None) is not None]
        if any(type(each) is not torch.nn.Linear for each in weighted):
            continue
        if kind not in compiled:
            compiled[kind] = torch.compile(kind.forward, dynamic=True)
        vars(module)["forward"] = types.MethodType(compiled[kind], module)
