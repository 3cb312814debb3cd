"""`[tuning]`: which weights are trained."""

from typing import Annotated, Literal, Self

import pydantic

from calltune.options import Table
from calltune.stages import Stage


class Tuning(Table):
    """Which weights a stage trains, and how."""

    method: Literal["full", "lora", "qlora", "spectrum"] = "full"

    spectrum_percent: Annotated[float, pydantic.Field(gt=0, le=100)] | None = None
    """Of each kind of weight matrix, the share of layers with the highest signal-to-noise ratio, which are trained."""

    spectrum_file: str | None = None
    """Instead of a share: a file of `unfrozen_parameters`, as Spectrum writes and axolotl reads it."""

    train_embeddings: bool = False
    """Whether "spectrum" trains the input embeddings too; where they are tied, the head with them."""

    train_head: bool = False
    """Whether "spectrum" trains the language-model head too; where they are tied, the embeddings with it."""

    @pydantic.model_validator(mode="after")
    def _keys_of_the_method(self) -> Self:
        # By value, as a run file that calltune wrote out names every key.
        keys = ("spectrum_percent", "spectrum_file", "train_embeddings", "train_head")
        spectrum = [key for key in keys if getattr(self, key)]
        if self.method != "spectrum" and spectrum:
            raise ValueError(f"'{spectrum[0]}' is read by method 'spectrum' alone, not by '{self.method}'")
        if self.method == "spectrum" and (self.spectrum_percent is None) == (self.spectrum_file is None):
            raise ValueError("method 'spectrum' takes either 'spectrum_percent' or 'spectrum_file'")
        return self


class TuningConfig(Tuning):
    """`[tuning]`, for both stages; a `[tuning.sft]` or `[tuning.dpo]` stands in its place for that stage, whole."""

    share_prefixes: bool = True
    """Compute what rows of a batch have in common once, where that is exact for the model."""

    sft: Tuning | None = None
    dpo: Tuning | None = None

    def of(self, stage: Stage) -> Tuning:
        """What holds for a stage."""
        return getattr(self, stage) or self
