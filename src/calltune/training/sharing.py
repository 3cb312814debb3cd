"""Shared prefixes in training: a padded batch goes through the backbone as one packed row, and comes back padded.

`share_prefixes` replaces the `forward` of a transformers model's backbone (`model.base_model`), which is all that TRL's
fused LM head calls. Trainers, PEFT, checkpointing, autocast and the launchers see the same padded rows go in and the
same hidden states come out; what rows have in common is computed once, and padding is not computed at all. A batch that
is not understood, or has too little in common, takes the model's own path.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from peft import PeftModel
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from calltune.models.exactness import is_checkable, noise_fault, reason_against_training, wiring_fault
from calltune.models.prefix import model_inputs, packed_attention
from calltune.models.state_layers import hand_states_on
from calltune.models.trie import Packed, Way, lay_out
from calltune.models.ways import Asked, Ways, dtype_now, ways_of
from calltune.runtime.terminal import say
from calltune.training.flops import Flops, peak_flops
from calltune.training.labelled_head import WANTED
from calltune.training.layout import is_right_padded, layout_of
from calltune.training.passes import Passes

ATTENTION = "calltune_shared_or_plain"

_LEAST_RATIO = 1.1  # padded tokens over packed tokens; below it, laying out costs more than it saves


def _attention(module: torch.nn.Module, *heads: Any, shared_prefixes: Packed | None = None, **kwargs: Any) -> Any:
    # A checkpointed layer runs again in the backward pass, with the arguments that it had in the forward pass.
    if shared_prefixes is None:
        return sdpa_attention_forward(module, *heads, **kwargs)
    return packed_attention(module, *heads, shared_prefixes=shared_prefixes, **kwargs)


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


@dataclass(slots=True)
class Sharing:
    """What shared prefixes saved one model; the counts are of passes with a gradient.

    `off_because` is None while batches may be packed. `attention` is what was asked for, `ways` what came of it
    by precision, as DPO's reference may be computed in another one than its steps, and `way` the last that was taken.
    `num_padded_tokens` are those that a trainer sent,
    `num_row_tokens` those without padding, `num_computed_tokens` those that went through the backbone.
    """

    off_because: str | None
    is_checked: bool = False
    attention: Asked = "auto"
    ways: dict[torch.dtype, Ways] = field(default_factory=dict)
    way: Way | None = None
    passes: Passes | None = None
    num_padded_tokens: int = 0
    num_row_tokens: int = 0
    num_computed_tokens: int = 0
    useful_flops: float = 0.0

    @property
    def token_ratio(self) -> float:
        """How many times fewer tokens were computed than the rows hold, their padding left aside."""
        return self.num_row_tokens / max(1, self.num_computed_tokens)

    def facts(self, seconds: float, device: torch.device) -> dict[str, Any]:
        """For the manifest, after `seconds` of training on a device; the counts are those of this process."""
        rate = self.useful_flops / seconds if seconds else math.nan
        peak = peak_flops(device)
        return {
            "shared_prefixes": {
                "off_because": self.off_because,
                "attention": self.way,
                "padded_tokens": self.num_padded_tokens,
                "row_tokens": self.num_row_tokens,
                "computed_tokens": self.num_computed_tokens,
                "token_ratio": round(self.token_ratio, 3) if self.num_computed_tokens else None,
                "useful_flops_per_second": None if math.isnan(rate) else round(rate),
                "useful_mfu": None if math.isnan(rate) or peak is None else round(rate / peak, 4),
            },
            **({"passes": self.passes.facts()} if self.passes else {}),
        }

    def is_worth_it(self, num_padded: int, num_packed: int) -> bool:
        """Whether to pack a batch: it saves enough, or it keeps the batch within the bound of a pass."""
        is_needed = self.passes is not None and num_packed <= self.passes.tokens_per_batch < num_padded
        return is_needed or num_padded >= _LEAST_RATIO * num_packed

    def sentence(self, seconds: float, device: torch.device) -> str:
        """What was saved, for the user."""
        if self.off_because:
            return f"no prefixes were shared: {self.off_because}"
        found = self.facts(seconds, device)["shared_prefixes"]
        text = f"shared prefixes: {self.token_ratio:.1f}x fewer tokens"
        if found["useful_mfu"] is not None:
            return f"{text}; {found['useful_mfu']:.0%} of the device's peak in useful work (MFU)"
        if found["useful_flops_per_second"] is not None:
            return f"{text}; {found['useful_flops_per_second'] / 1e9:.1f} useful GFLOP/s"
        return text

    def turn_off(self, reason: str) -> None:
        """Take the plain path from now on, and say so once."""
        self.off_because = reason
        say(f"shared prefixes are off: {reason}")


def share_prefixes(model: torch.nn.Module, is_whole: bool = True, attention: Asked = "auto") -> Sharing:
    """Put shared prefixes on the backbone of a causal language model, or of the one inside a PEFT model.

    Call it when weights, adapters and dropout are as they will be trained, and before the model is wrapped or has an
    optimiser: its weights are float32 for a moment, in which packed rows are compared with plain ones. Where that
    cannot be, two rows of the first batch are compared. States that differ turn sharing off.

    Args:
        is_whole: False where this process may not hold all weights.
        attention: the way to attend, or "auto" for the fastest that is right.
    """
    inner: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    is_checkable_now = is_whole and is_checkable(inner)
    sharing = Sharing(_reason_against(model, inner, is_checkable_now), is_checkable_now, attention)
    if sharing.off_because:
        say(f"shared prefixes are off: {sharing.off_because}")
        return sharing
    flops = Flops(inner)
    backbone = inner.base_model
    plain = backbone.forward
    inner.set_attn_implementation(ATTENTION)
    hand_states_on(inner)

    @functools.wraps(plain)
    def forward(*args: Any, **kwargs: Any) -> Any:
        if args or sharing.off_because or not _is_plain(kwargs):
            return plain(*args, **kwargs)
        found = _packed(kwargs)
        if found is None:
            return plain(**kwargs)
        packed, num_row = found
        num_padded, num_packed = kwargs["input_ids"].numel(), packed.ids.numel()
        is_worth_it = sharing.is_worth_it(num_padded, num_packed)
        dtype = dtype_now(inner)
        if dtype not in sharing.ways:
            sharing.ways[dtype] = ways_of(inner, attention)
        fault = sharing.ways[dtype].reason_against()
        if fault is None and (is_worth_it or not sharing.is_checked):
            sharing.way = sharing.ways[dtype].best(packed, torch.is_grad_enabled())
            packed = replace(packed, way=sharing.way)
        # Four more passes on every process, whatever each finds, as sharded weights are gathered in each pass; and the
        # batch itself goes its own way after them, so that a resumed run computes what an undisturbed one did.
        if not sharing.is_checked:
            sharing.is_checked = True
            here = _fault(backbone, plain, packed.way, kwargs)
            fault = fault or (here and f"on the first batch, {here}")
        if fault:
            sharing.turn_off(fault)
            is_worth_it = False
        if torch.is_grad_enabled():
            sharing.num_padded_tokens += num_padded
            sharing.num_row_tokens += num_row
            sharing.num_computed_tokens += num_packed if is_worth_it else num_padded
            sharing.useful_flops += flops.of(packed)
        if not is_worth_it:
            return plain(**kwargs)
        outputs = _packed_outputs(plain, packed, kwargs)
        index, wanted = packed.index, WANTED.get()
        if wanted is not None:
            index = (index[:, :-1][wanted.places] if wanted.index is None else wanted.index)[None]
            wanted.are_taken = True
        states = outputs.last_hidden_state[0]
        outputs.last_hidden_state = states.index_select(0, index.flatten()).view(*index.shape, -1)
        return outputs

    backbone.forward = forward
    return sharing


def _reason_against(model: torch.nn.Module, inner: Any, is_checkable_now: bool) -> str | None:
    if reason := reason_against_training(model, inner, inner.config._attn_implementation):
        return reason
    if not is_checkable_now:
        return None
    was_training = model.training
    model.eval()
    try:
        return wiring_fault(inner)
    finally:
        model.train(was_training)


def _is_plain(kwargs: Mapping[str, Any]) -> bool:
    """Whether a backbone is given token ids and their mask, and asked for nothing but their last states."""
    known = {"input_ids", "attention_mask", "use_cache", "return_dict"}
    if kwargs.get("use_cache") is not False or kwargs.get("return_dict") is False:
        return False
    if any(value is not None and value is not False for name, value in kwargs.items() if name not in known):
        return False
    ids, mask = kwargs.get("input_ids"), kwargs.get("attention_mask")
    return ids is not None and ids.ndim == 2 and mask is not None and mask.shape == ids.shape


def _packed(kwargs: Mapping[str, Any]) -> tuple[Packed, int] | None:
    """The packed row of a batch, and the tokens of its rows; None when they are not padded on the right.

    It comes with the batch, or is made here, which needs the batch's numbers on the host.
    """
    laid = layout_of(kwargs["input_ids"], kwargs["attention_mask"])
    if laid is not None and laid.is_packed:
        return laid.packed(), laid.num_row_tokens
    ids, mask = kwargs["input_ids"].cpu(), kwargs["attention_mask"].cpu()
    if not is_right_padded(ids, mask):
        return None
    lengths = mask.long().sum(1)
    return lay_out(ids.numpy(), lengths.numpy()).on(kwargs["input_ids"].device), int(lengths.sum())


def _packed_outputs(plain: Any, packed: Packed, kwargs: Mapping[str, Any]) -> Any:
    others = {name: value for name, value in kwargs.items() if name not in ("input_ids", "attention_mask")}
    return plain(**model_inputs(packed), **others)


def _fault(backbone: torch.nn.Module, plain: Any, way: Way, kwargs: Mapping[str, Any]) -> str | None:
    """None when the packed states of two rows of a batch are the plain ones, as far as their precision tells."""
    others = {name: value for name, value in kwargs.items() if name not in ("input_ids", "attention_mask")}
    lengths = kwargs["attention_mask"].sum(1).long().tolist()
    rows = [row[:length] for row, length in zip(kwargs["input_ids"].tolist(), lengths, strict=True)]
    was_training = backbone.training
    backbone.eval()
    try:
        return noise_fault(
            lambda ids, mask: plain(input_ids=ids, attention_mask=mask, **others).last_hidden_state,
            lambda packed: _packed_outputs(plain, replace(packed, way=way), kwargs).last_hidden_state[0],
            [row for row in rows if row],
            kwargs["input_ids"].device,
        )
    finally:
        backbone.train(was_training)
