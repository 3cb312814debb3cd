"""What is measured with fused kernels, in other precisions, and under a profiler."""

import importlib.util
from typing import Any

from calltune.models.fused import fuse
from calltune.models.trie import Way
from material import gpu_asking as asking
from material import gpu_trainers as trainers
from material.gpu_model import Machine
from material.gpu_record import Skip


def require_liger(machine: Machine) -> None:
    """Refuse what needs Liger's kernels where they cannot run."""
    if not machine.is_cuda:
        raise Skip("fused kernels are a GPU's")
    if importlib.util.find_spec("liger_kernel") is None:
        raise Skip("liger-kernel is not installed")


def with_liger(machine: Machine, kind: str, size: int, way: Way = "varlen", profiler: Any = None) -> dict[str, Any]:
    """Steps with Liger's kernels, over a model of their own."""
    require_liger(machine)
    try:
        lay_liger_into(machine.model)
        return trainers.ours(machine, kind, size, way, profiler=profiler)
    finally:
        machine.forget_model()


def choices_with_liger(machine: Machine, number: int, profiler: Any = None) -> dict[str, Any]:
    """Four-choice questions with Liger's kernels, laid and checked as in measurement, over a model of their own."""
    require_liger(machine)
    try:
        fused = fuse(machine.model, "liger", None, with_gradients=False)
        if fused.kind != "liger":
            raise RuntimeError(f"fused kernels: {fused.told}")
        return {**asking.multiple_choice(machine, "varlen", number, profiler), "note": fused.told}
    finally:
        machine.forget_model()


def lay_liger_into(model: Any) -> None:
    """Put Liger's norms, rotary embedding and MLP into a model; TRL's head stays."""
    from liger_kernel.transformers import _apply_liger_kernel_to_instance

    heads = {"cross_entropy": False, "fused_linear_cross_entropy": False}
    _apply_liger_kernel_to_instance(model=model, rope=True, rms_norm=True, swiglu=True, **heads)


def compiled(machine: Machine, size: int) -> dict[str, Any]:
    """Steps with norms and MLPs that torch compiled."""
    if not machine.is_cuda:
        raise Skip("fused kernels are a GPU's")
    if not trainers.has_key("fused_kernels"):
        raise Skip("this checkout compiles none")
    found = trainers.loaded(machine, "dpo", size, ("tuning.fused_kernels=compile",))
    if found["modules_replaced"] < machine.config.num_hidden_layers:
        raise Skip("calltune left them out, as its line says")
    return found


def in_float32(machine: Machine, size: int) -> dict[str, Any]:
    """Steps of float32 weights, beside which stands what calltune takes by default."""
    if not trainers.has_key("precision"):
        raise Skip("this checkout takes no others")
    return trainers.loaded(machine, "dpo", size, ("tuning.precision=float32",))


def profile(machine: Machine, kind: str, size: int) -> dict[str, Any]:
    """The kernels of one step, with Liger's where they are installed; its seconds are those of steps beside it."""
    profiler, has_liger = asking.profiler(machine), _has_liger(machine)
    steps = with_liger if has_liger else trainers.ours
    found = steps(machine, kind, size, "varlen", profiler=profiler)
    return _told(machine, profiler, found["seconds"], has_liger)


def profile_of_choices(machine: Machine, number: int) -> dict[str, Any]:
    """The kernels of all questions once, with Liger's where they are installed."""
    profiler, has_liger = asking.profiler(machine), _has_liger(machine)
    if has_liger:
        found = choices_with_liger(machine, number, profiler)
    else:
        found = asking.multiple_choice(machine, "varlen", number, profiler)
    return _told(machine, profiler, found["seconds"], has_liger)


def _has_liger(machine: Machine) -> bool:
    return machine.is_cuda and importlib.util.find_spec("liger_kernel") is not None


def _told(machine: Machine, profiler: Any, seconds: float, has_liger: bool) -> dict[str, Any]:
    """What was profiled; the largest kernels are printed, too, so that a log alone holds them."""
    found = asking.profiled(machine, profiler)
    for each in found["largest"]:
        print(f"    {each['share']:7.1%} {each['share'] * found['kernels_ms']:9.2f} ms  {each['name']}", flush=True)
    parts = ("gemm", "attention", "gathering", "fused")
    words = ", ".join(f"{found[f'share_of_{part}']:.0%} {part}" for part in parts)
    busy = f"kernels take {found['kernels_ms']:.0f} ms of {1e3 * seconds:.0f} ms without the profiler"
    note = f"{busy}: {words}; {found['copies_to_device']} copies to the device" + "; Liger" * has_liger
    return {**found, "seconds_unprofiled": seconds, "has_liger": has_liger, "note": note}
