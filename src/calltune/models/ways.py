"""Which way a model attends to packed rows on its device: the fastest of those whose outcome is right.

On a CPU that is `blocks`. On a GPU each way that there may be is asked for one attention call, forward and backward,
which must be right as far as the precision allows (`calltune.models.kernel_check`). Those that are right are timed on
the layouts of the first batches, in a model's heads of random numbers, and the fastest is kept. So a wrong guess about
a kernel costs speed, never truth. `flex`, whose compiler takes longer than some hundred steps could win back, is left
out where `varlen` is right and is known to be faster.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from transformers import PreTrainedModel

from calltune.models.device import autocast_dtype
from calltune.models.kernel_check import Heads, kernel_fault
from calltune.models.layer_kinds import attention_heads
from calltune.models.prefix import packed_attention, windows_of
from calltune.models.tree_attention import LARGEST_HEAD, has_varlen
from calltune.models.trie import Packed, Way
from calltune.runtime.terminal import say

Asked = Literal["auto", "varlen", "flex", "blocks"]
WAYS: tuple[Way, ...] = ("varlen", "flex", "blocks")

_BATCHES = 3  # whose layouts are timed

# Keys that `varlen` gathers for each distinct token. With fewer of them it was faster than `flex` on the one GPU that
# measured both: see docs/benchmarks/gpu.md.
_KEYS_TO_COMPILE = 3.0

REFUSALS = (RuntimeError, AssertionError, AttributeError, ImportError, LookupError, OSError, TypeError, ValueError)
"""What a kernel raises that does not take its input, or a compiler that has no compiler to call."""


def possible_ways(device: torch.device, dtype: torch.dtype, size: int, is_compiling: bool = True) -> list[Way]:
    """The ways that there may be on a device, in the order in which they are expected to be fast.

    Args:
        size: of one head.
        is_compiling: whether there is time for a compiler, which `flex` needs.
    """
    if device.type != "cuda":
        return ["blocks"]
    ways: list[Way] = []
    if dtype in (torch.bfloat16, torch.float16) and size <= LARGEST_HEAD and has_varlen():
        ways.append("varlen")
    if is_compiling or not ways:
        ways.append("flex")
    return [*ways, "blocks"]


def attend_by(way: Way) -> Any:
    """Attention of a packed row in one way, as `kernel_fault` asks it."""
    module = torch.nn.Module()

    def attend(query: Any, key: Any, value: Any, packed: Packed, window: int | None) -> torch.Tensor:
        there = replace(packed, way=way)
        outputs, _ = packed_attention(module, query, key, value, None, sliding_window=window, shared_prefixes=there)
        return outputs.transpose(1, 2)

    return attend


@dataclass(slots=True)
class Ways:
    """One model's choice.

    `heads` and `windows`, one window a layer, are the model's. `faults` says of a way why it is not used. The choice
    with gradients is another one than that without; `chosen` is the last.
    """

    candidates: list[Way]
    heads: Heads
    windows: list[int | None]
    dtype: torch.dtype
    device: torch.device
    faults: dict[Way, str] = field(default_factory=dict)
    seconds: dict[tuple[Way, bool], float] = field(default_factory=dict)
    chosen: Way | None = None
    is_flex_open: bool = False
    """Whether `flex` waits for the first layout, which tells whether it is worth its compiler."""

    _num_timed: dict[bool, int] = field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        """Whether there is no choice and nothing to check, as on a CPU."""
        return self.device.type == "cpu" and self.candidates == ["blocks"]

    def check(self) -> None:
        """Leave the ways out whose outcome is wrong."""
        self.is_flex_open = {"varlen", "flex"} <= set(self.candidates)
        for way in self.candidates:
            if way == "flex" and "varlen" not in self.faults and self.is_flex_open:
                continue
            self._check(way)
        self.is_flex_open = self.is_flex_open and "varlen" not in self.faults
        self.candidates = [way for way in self.candidates if way not in self.faults]

    def _check(self, way: Way) -> None:
        for window in dict.fromkeys(self.windows):
            if fault := self._fault(way, window):
                self.faults[way] = fault
                return

    def _close_flex(self, packed: Packed) -> None:
        """Let `flex` be compiled, and checked, where this layout makes `varlen` gather many keys; else leave it out."""
        self.is_flex_open = False
        keys = packed.keys.numel() / packed.ids.numel()
        if keys >= _KEYS_TO_COMPILE:
            self._check("flex")
        else:
            self.faults["flex"] = f"it is not compiled, as varlen gathers only {keys:.1f} keys a token"
        self.candidates = [way for way in self.candidates if way not in self.faults]

    def reason_against(self) -> str | None:
        """Why packed rows cannot be had here: every way to attend to them is wrong; None where one is right."""
        return None if self.candidates else f"no way to attend to packed rows is right here{self.left_out()}"

    def _fault(self, way: Way, window: int | None) -> str | None:
        try:
            return kernel_fault(attend_by(way), self.heads, window, self.dtype, self.device)
        except REFUSALS as error:
            return _told(error)

    def best(self, packed: Packed, with_gradients: bool) -> Way:
        """The way for a packed row; the layouts of the first few are timed."""
        if self.is_flex_open:
            self._close_flex(packed)
        if len(self.candidates) == 1:
            self.chosen = self.candidates[0]
            return self.chosen
        num_timed = self._num_timed.get(with_gradients, 0)
        if num_timed < _BATCHES:
            self._num_timed[with_gradients] = num_timed + 1
            for way in list(self.candidates):
                try:
                    spent = self._time(way, packed, with_gradients)
                except REFUSALS as error:
                    if way == self.candidates[-1]:
                        raise
                    # Such as for want of memory.
                    self.faults[way] = _told(error)
                    self.candidates.remove(way)
                    say(f"attention over shared prefixes: {way} is left out: {self.faults[way]}")
                    continue
                self.seconds[way, with_gradients] = self.seconds.get((way, with_gradients), 0.0) + spent
        self.chosen = min(self.candidates, key=lambda way: self.seconds[way, with_gradients])
        if num_timed + 1 == _BATCHES:
            say(self.sentence(self.chosen, with_gradients))
        return self.chosen

    def sentence(self, best: Way, with_gradients: bool) -> str:
        """What was chosen, from what, and what was left out, for the user."""
        times = ", ".join(
            f"{way} {1e3 * self.seconds[way, with_gradients] / _BATCHES:.1f} ms"
            for way in sorted(self.candidates, key=lambda way: self.seconds[way, with_gradients])
        )
        passes = "forward and backward" if with_gradients else "forward"
        return f"attention over shared prefixes: {best} ({passes}, all layers of a batch: {times})" + self.left_out()

    def left_out(self) -> str:
        """The ways that are not used, and why; empty where there is none."""
        return "".join(f"; {way} is left out: {fault}" for way, fault in self.faults.items())

    def _time(self, way: Way, packed: Packed, with_gradients: bool) -> float:
        """Seconds of all layers over a packed row; what is made of the row once counts once."""
        queries, keys, size = self.heads
        length, attend = packed.ids.numel(), attend_by(way)
        with torch.inference_mode(False), torch.set_grad_enabled(with_gradients):
            # Numbers of their own, so that a run draws the same ones however often it times.
            numbers = torch.Generator(self.device).manual_seed(0)
            shapes = [(1, count, length, size) for count in (queries, keys, keys)]
            drawn = [torch.randn(shape, generator=numbers, device=self.device).to(self.dtype) for shape in shapes]
            inputs = [each.requires_grad_(with_gradients) for each in drawn]

            def run(row: Packed, window: int | None) -> float:
                self._wait()
                begun = time.perf_counter()
                outputs = attend(*inputs, row, window)
                if with_gradients:
                    torch.autograd.grad(outputs, inputs, outputs.detach())
                self._wait()
                return time.perf_counter() - begun

            spent = 0.0
            for window in dict.fromkeys(self.windows):
                # Compilers and libraries do more in the first call; the second one makes what it needs anew.
                run(replace(packed, made={}), window)
                again = replace(packed, made={})
                spent += run(again, window) + (self.windows.count(window) - 1) * run(again, window)
        return spent

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def dtype_now(model: PreTrainedModel) -> torch.dtype:
    """The precision in which a model attends now: autocast's, or that of its weights."""
    return autocast_dtype(model.device) or model.dtype


def _told(error: Exception) -> str:
    words = str(error).strip().splitlines() or ["?"]
    return f"{type(error).__name__}: {words[0][:200]}"


def ways_of(
    model: PreTrainedModel, asked: Asked = "auto", is_compiling: bool = True, among: Sequence[Way] | None = None
) -> Ways:
    """The choice for a model, on the device and in the precision in which it computes now; its kernels are checked.

    Args:
        asked: one way, which is taken unless its outcome is wrong; `blocks` then.
        is_compiling: whether there is time for a compiler.
        among: instead of the ways that are possible here.
    """
    config = model.config.get_text_config(decoder=True)
    device, heads = model.device, attention_heads(config)[0]
    dtype = dtype_now(model)
    candidates: list[Way] = list(among or possible_ways(device, dtype, heads[2], is_compiling))
    if asked != "auto":
        candidates = [asked] if asked == "blocks" else [asked, "blocks"]
    ways = Ways(candidates, heads, windows_of(model), dtype, device)
    if not ways.is_plain:
        ways.check()
        if asked != "auto":
            ways.candidates = ways.candidates[:1]
        if len(ways.candidates) == 1:
            say(f"attention over shared prefixes: {ways.candidates[0]}{ways.left_out()}")
    return ways
