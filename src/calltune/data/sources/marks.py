"""What a record itself says of an answer: that it is not to be learned, or that it is not complete."""

from collections.abc import Mapping
from typing import Any

from calltune.calling.strict_json import shortened
from calltune.errors import DataError

_MARKS = ("weight", "train", "loss", "trainable", "train_on_turn", "loss_mask")
_ROW_MARKS = ("train", "trainable", "loss", "kto_tag", "label")
_CUT = ("length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded")
_FILTERED = (
    *("content_filter", "content_filtered", "guardrail_intervened", "refusal", "safety", "recitation", "blocklist"),
    *("prohibited_content", "spii", "language", "other", "moderation"),
)
_BROKEN = (
    *("error", "failed", "cancelled", "incomplete", "in_progress", "pause_turn", "malformed_function_call", "abort"),
    *("malformed_tool_use", "malformed_model_output", "unexpected_tool_call", "network_error", "timeout"),
)
_CALLED = ("tool_calls", "function_call", "tool_use", "tool_call")


def is_marked_learned(raw: Mapping[str, Any], where: str) -> bool:
    """Return whether a message may be learned; `weight`, `train`, `loss` and `trainable` of 0 or false say no.

    Raises:
        DataError: a mark is neither 0 nor 1, or marks parts of the text.
    """
    is_learned = True
    for key in _MARKS:
        if (value := raw.get(key)) is not None:
            value = {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value
            if value not in (0, 1):
                raise DataError(f"{where}: '{key}' must be 0 or 1, not {shortened(value)}")
            is_learned = is_learned and bool(value)
    if raw.get("train_detail") or raw.get("training_detail"):
        raise DataError(f"{where}: 'train_detail' marks parts of an answer, which calltune does not learn apart")
    return is_learned


def row_mark(row: Mapping[str, Any], where: str) -> str:
    """Return why a whole row is marked as not to be learned, or an empty string.

    TRL's and LLaMA-Factory's unpaired rows say it by `label` and `kto_tag`.
    """
    if "chosen" in row and "rejected" in row:
        return ""
    for key in _ROW_MARKS:
        is_false = row.get(key) is False
        if key == "kto_tag" or (key == "label" and "completion" in row):
            value = row.get(key)
            is_false = is_false or value == 0 or (isinstance(value, str) and value.lower() in ("false", "0"))
            is_false = is_false and value is not None
        if is_false:
            return f"{where}: '{key}' is false: not an answer to imitate"
    if isinstance(row.get("weight"), int | float) and row["weight"] == 0:
        return f"{where}: 'weight' is 0: not an answer to imitate"
    return ""


def unfinished(finish: str, has_calls: bool) -> str:
    """Return what is incomplete about an answer by its record's own word on how it ended, or an empty string."""
    said, finish = f"its record says {shortened(finish)}: ", finish.lower().replace("-", "_")
    if finish in _CUT:
        return f"{said}the answer was cut off"
    if finish in _FILTERED:
        return f"{said}the answer was filtered"
    if finish in _BROKEN:
        return f"{said}the answer is not complete"
    if finish in _CALLED and not has_calls:
        return f"{said}the answer holds no call"
    return ""
