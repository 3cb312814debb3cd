"""How many optimiser steps a stage takes, by its table and its rows alone; TRL itself counts when it trains."""

from collections.abc import Mapping
from math import ceil
from typing import Any

_BATCH, _EPOCHS = 8, 3.0
"""TRL's defaults of `per_device_train_batch_size` and `num_train_epochs`."""


def num_steps(table: Mapping[str, Any], num_rows: int, num_processes: int = 1) -> int:
    """Return the steps of a stage.

    Args:
        table: `[sft]` or `[dpo]`. With `packing` a step holds more than its number of rows, so there are fewer steps.
        num_rows: rows, or pairs, that are trained on.
        num_processes: of all machines together.
    """
    if (most := table.get("max_steps", -1)) > 0:
        return most
    together = table.get("per_device_train_batch_size", _BATCH) * num_processes
    batches = ceil(num_rows / together) if not table.get("dataloader_drop_last") else num_rows // together
    per_epoch = ceil(batches / table.get("gradient_accumulation_steps", 1))
    return ceil(table.get("num_train_epochs", _EPOCHS) * per_epoch)
