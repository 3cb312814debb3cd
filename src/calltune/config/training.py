"""How stages train: `[tuning]` says which weights are trained, `[mine]` makes pairs from the model's own mistakes."""

from typing import Annotated, Literal, Self

import pydantic

from calltune.config.stages import Stage
from calltune.config.table import Table


class Tuning(Table):
    """Which weights a stage trains, and how."""

    method: Literal["full", "lora", "qlora", "spectrum"] = "full"

    spectrum_percent: Annotated[float, pydantic.Field(gt=0, le=100)] | None = None
    """The share of layers, in percent, that is trained of each kind of weight matrix: those with the highest
    signal-to-noise ratio."""

    spectrum_file: str | None = None
    """A file of `unfrozen_parameters`, as Spectrum writes and axolotl reads it. It takes the place of a share."""

    train_embeddings: bool = False
    """Whether "spectrum" trains the input embeddings too. Where the head is tied to them, it is trained with them."""

    train_head: bool = False
    """Whether "spectrum" trains the language-model head too. Where the embeddings are tied to it, they are trained with
    it."""

    @property
    def has_adapters(self) -> bool:
        """Whether adapters are trained beside the model's weights, instead of these."""
        return self.method in ("lora", "qlora")

    @pydantic.model_validator(mode="after")
    def _keys_of_the_method(self) -> Self:
        # The values are looked at, because a run file that calltune wrote out names every key.
        keys = ("spectrum_percent", "spectrum_file", "train_embeddings", "train_head")
        spectrum = [key for key in keys if getattr(self, key)]
        if self.method != "spectrum" and spectrum:
            raise ValueError(f"'{spectrum[0]}' is read by method 'spectrum' alone, not by '{self.method}'")
        if self.method == "spectrum" and (self.spectrum_percent is None) == (self.spectrum_file is None):
            raise ValueError("method 'spectrum' takes either 'spectrum_percent' or 'spectrum_file'")
        return self


class TuningConfig(Tuning):
    """`[tuning]` holds for every stage; `[tuning.sft]`, as the other stages', takes its place as a whole."""

    share_prefixes: bool = True
    """Whether what rows of a batch have in common is computed once, where that is exact for the model."""

    attention: Literal["auto", "varlen", "flex", "blocks"] = "auto"
    """How the attention over what is shared is computed. A CPU does it in blocks. A GPU takes FlashAttention over
    sequences of any lengths ("varlen"), FlexAttention ("flex"), or blocks, by default the fastest on the first batches.
    """

    precision: Literal["auto", "float32", "bf16-masters"] = "auto"
    """In what trained weights are kept. "bf16-masters" keeps them in bf16 for forward and backward passes, and their
    float32 masters in the optimiser, which moves these. By default where a GPU multiplies in bf16 and weights are
    trained themselves, not adapters; float32 else."""

    fused_kernels: Literal["auto", "liger", "compile", "off"] = "auto"
    """What computes norms, rotary embeddings and MLPs in one pass over memory each: Liger's kernels, or torch's
    compiler, for norms and MLPs alone. By default none on a CPU; on a GPU Liger's where they are installed and right,
    else compiled ones where they are faster."""

    @pydantic.model_validator(mode="after")
    def _attention_of_what_is_shared(self) -> Self:
        if self.attention != "auto" and not self.share_prefixes:
            raise ValueError("'attention' is that of shared prefixes, and 'share_prefixes' is false")
        return self

    sft: Tuning | None = None
    dpo: Tuning | None = None
    grpo: Tuning | None = None

    def of(self, stage: Stage) -> Tuning:
        """Return what holds for a stage."""
        return getattr(self, stage) or self


Count = Annotated[int, pydantic.Field(gt=0)]


class MineConfig(Table):
    """The keys of `[mine]`. Where the run file has this table, `dpo` trains on `mined/pairs.jsonl`."""

    rounds: Count = 1
    """How often to mine and then train. Each round after the first asks the model that the round before it made."""

    num_questions: Count | None = None
    """The most training questions that are asked; by default all are."""

    num_answers: Count = 8
    """How many answers are drawn for each question."""

    temperature: Annotated[float, pydantic.Field(gt=0)] = 1.0

    top_p: Annotated[float, pydantic.Field(gt=0, le=1)] = 1.0
    """The likeliest candidates for each token are kept whose probabilities reach this together."""

    max_new_tokens: Count = 256
    """An answer that does not end within these tokens is counted as truncated, and is in no pair."""

    num_pairs: Count | None = None
    """The most pairs, mined and given together; by default as many as were given, or all that were mined where none
    were."""

    given_share: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.0
    """Share of the pairs that is taken from `data/preferences.jsonl`."""

    even_calls: bool = False
    """Whether as many pairs are mined in which a call wins over a text as pairs in which one loses to it, so that
    neither calling less nor calling more is what most pairs ask for."""

    chosen: Literal["own", "gold"] = "own"
    """`own` prefers an answer of the model's own that was found right, where there is one; `gold` prefers the data's
    answer."""
