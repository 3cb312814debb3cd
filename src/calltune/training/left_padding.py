"""Rows that are padded on the left, moved so that their padding is on the right, where shared prefixes expect it.

TRL's GRPO trainer puts prompts, padded on the left, before answers, padded on the right. A token's place in its row
then depends on the longest prompt of the batch, and rows with one prompt begin with padding. The model is put behind a
forward that moves each row to its own first token, and the values of its labels back to where the trainer looks for
them. What attention sees is the same.
"""

import functools
from typing import Any

import torch
from peft import PeftModel

_PER_LABEL = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1", "label_mask")


def move_left_padding(model: torch.nn.Module) -> None:
    """Let a model with TRL's fused LM head be asked for the labels of rows that are padded on the left.

    Call it after `score_labels_only`, and before the model is wrapped.
    """
    inner: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    fused = inner.forward

    @functools.wraps(fused)
    def forward(*args: Any, **kwargs: Any) -> Any:
        ids, mask, labels = (kwargs.get(name) for name in ("input_ids", "attention_mask", "labels"))
        if args or not kwargs.get("fused_lm_head") or ids is None or mask is None or labels is None:
            return fused(*args, **kwargs)
        seen = mask.bool()
        starts, lengths = seen.int().argmax(1), seen.sum(1)
        width = max(2, int(lengths.max()))
        places = starts[:, None] + torch.arange(width, device=ids.device)
        is_token = torch.arange(width, device=ids.device) < lengths[:, None]
        there = places.clamp(max=ids.shape[1] - 1)
        if not starts.any() or not torch.equal(seen.gather(1, there) & is_token, is_token):
            # It begins with tokens, or has holes.
            return fused(*args, **kwargs)
        kwargs["input_ids"], kwargs["attention_mask"] = ids.gather(1, there), is_token.to(mask.dtype)
        kwargs["labels"] = labels.gather(1, there).masked_fill(~is_token, -100)
        outputs = fused(*args, **kwargs)
        back = torch.arange(ids.shape[1] - 1, device=ids.device) - starts[:, None]
        is_inside = (back >= 0) & (back < width - 1)
        back = back.clamp(0, width - 2)
        for name in _PER_LABEL:
            values = getattr(outputs, name, None)
            if values is not None:
                setattr(outputs, name, values.gather(1, back).masked_fill(~is_inside, 0))
        return outputs

    inner.forward = forward
