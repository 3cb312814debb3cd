"""How stages train: `[tuning]`, which weights; `[mine]`, pairs from the model's own mistakes."""

from typing import Annotated, Literal, Self

import pydantic

from calltune.config.stages import Stage
from calltune.config.table import Table


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


Count = Annotated[int, pydantic.Field(gt=0)]


class MineConfig(Table):
    """The keys of `[mine]`; where the table stands in the run file, `dpo` trains on `mined/pairs.jsonl`."""

    rounds: Count = 1
    """How often to mine and then train; each round after the first asks the model that the one before it made."""

    num_questions: Count | None = None
    """Training questions that are asked, at most; by default all."""

    num_answers: Count = 8
    """Answers that are drawn for each question."""

    temperature: Annotated[float, pydantic.Field(gt=0)] = 1.0

    top_p: Annotated[float, pydantic.Field(gt=0, le=1)] = 1.0
    """Of each token's candidates the likeliest are kept whose probabilities reach this together."""

    max_new_tokens: Count = 256
    """An answer that does not end within these tokens is counted as truncated, and is in no pair."""

    num_pairs: Count | None = None
    """Pairs, mined and given, at most; by default as many as were given, or all that were mined where none were."""

    given_share: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.0
    """Share of the pairs that is taken from `data/preferences.jsonl`."""

    chosen: Literal["own", "gold"] = "own"
    """`own` prefers an answer of the model's own that was found right, where there is one; `gold` the data's answer."""
