"""The reference's log-probabilities of DPO: computed once, on shared prefixes, kept on disk by what went into them.

The reference is the policy before its first step, so no second model is needed: TRL's own `compute_ref_log_probs` is
asked on the policy, and the columns that TRL 1.16 reads with `precompute_ref_log_probs` are filled with the answers.
TRL's own precomputing would compute padded rows and forget them with its temporary folder.
"""

import hashlib
import random
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list, gather_object
from peft import PeftModel
from transformers import LlamaConfig, LlamaForCausalLM, TrainingArguments

from calltune.files.hashes import value_sha256
from calltune.files.json_lines import write_json
from calltune.files.state import Reference, read_state
from calltune.models.trie import batches
from calltune.runtime.processes import processes
from calltune.runtime.terminal import ProgressBar, say
from calltune.training.arguments import is_spread
from calltune.training.batch_tokens import num_distinct
from calltune.training.finite import RowNames, no_names, require_finite_reference
from calltune.training.sharing import Sharing, share_prefixes

_TOKENS_PER_BATCH = 8_192
_COLUMNS = ("ref_chosen_logps", "ref_rejected_logps")


def can_store(arguments: TrainingArguments) -> bool:
    """Whether these are DPO's arguments, and the reference neither moves nor is sharded; else it stays TRL's."""
    asked: Any = arguments
    if not hasattr(asked, "precompute_ref_log_probs") or asked.precompute_ref_log_probs or asked.sync_ref_model:
        return False
    return not is_spread(arguments)


def stand_in(arguments: TrainingArguments, is_peft: bool) -> dict[str, Any]:
    """What to give a DPO trainer for a reference model, so that it does not load a second model; `{}` for no word."""
    if is_peft or not can_store(arguments):
        return {}
    sizes: dict[str, Any] = {"vocab_size": 2, "hidden_size": 2, "intermediate_size": 2, "num_hidden_layers": 0}
    tiny = LlamaConfig(**sizes, num_attention_heads=1, bos_token_id=None, eos_token_id=None)
    return {"ref_model": LlamaForCausalLM(tiny)}


def store_reference(
    trainer: Any, folder: Path, sharing: Sharing, names: RowNames = no_names, weights: str | None = None
) -> None:
    """Give a DPO trainer its rows' reference log-probabilities, from `folder` or computed and written there.

    Call it before the first step, while the policy still is the reference. Where `can_store` says no, a reference model
    that TRL keeps shares prefixes as the policy does.

    Args:
        names: of rows, for a message.
        weights: the hash of the folder that the model was loaded from; without one, those in memory are hashed.

    Raises:
        NotFiniteError: one of them is no number.
    """
    if not can_store(trainer.args):
        if getattr(trainer, "ref_model", None) is not None and sharing.off_because is None:
            share_prefixes(trainer.ref_model, not is_spread(trainer.args), sharing.attention)
        return
    trainer.ref_model = None
    weights = weights or _weights_sha256(trainer.model)
    for name in ("train_dataset", "eval_dataset"):
        dataset = getattr(trainer, name)
        if dataset is None:
            continue
        file = folder / f"{_key(trainer, dataset, weights)}.json"
        for column, values in zip(_COLUMNS, _values(trainer, dataset, file, sharing, names), strict=True):
            dataset = dataset.add_column(column, values)
        setattr(trainer, name, dataset)
    trainer.precompute_ref_logps = True


def _values(trainer: Any, dataset: Any, file: Path, sharing: Sharing, names: RowNames) -> list[list[float]]:
    # The first process decides for all: another machine may not see its files.
    found: list[Any] = [_read(file) if processes().rank == 0 and file.exists() else None]
    broadcast_object_list(found)
    if found[0] is None:
        found[0] = dict(zip(_COLUMNS, _computed(trainer, dataset, sharing), strict=True))
        _require_finite(trainer, dataset, [found[0][column] for column in _COLUMNS], names)
        if processes().rank == 0:
            write_json(file, found[0])
    else:
        say(f"reference: log-probabilities of {len(dataset):,} pairs read from {file}")
    return [found[0][column] for column in _COLUMNS]


def _read(file: Path) -> dict[str, list[float]]:
    found = read_state(file, Reference)
    return {column: found[column] for column in _COLUMNS}


def _require_finite(trainer: Any, pairs: Any, values: list[list[float]], names: RowNames) -> None:
    require_finite_reference(values, lambda number: _rows([pairs[number]])[0], names, trainer.model)


def _computed(trainer: Any, dataset: Any, sharing: Sharing) -> list[list[float]]:
    ours = processes()
    pairs = dataset.select_columns(["prompt_ids", "chosen_ids", "rejected_ids"]).to_list()
    parts = _parts(_rows(pairs), trainer, sharing)
    found: list[tuple[int, float, float]] = []
    with ProgressBar("reference", len(parts)) as bar, _asking(trainer) as ask:
        for part in parts[ours.rank :: ours.count]:
            chosen, rejected = ask([pairs[number] for number in part])
            found += zip(part, chosen, rejected, strict=True)
            bar.advance(ours.count, "")
    everything = sorted(gather_object(found))
    return [[row[column] for row in everything] for column in (1, 2)]


def time_reference(
    trainer: Any,
    sharing: Sharing,
    seconds: float,
    names: RowNames = no_names,
    is_hashed: bool = False,
    most_tokens: int = _TOKENS_PER_BATCH,
) -> float | None:
    """The seconds that `store_reference` takes for the training rows, from a few of its batches; stores zeros.

    Args:
        seconds: to try for; with 0 nothing is asked.
        names: of rows, for a message.
        is_hashed: whether the stage has the hash of the model's folder.
        most_tokens: of a batch that is asked, where there is no time for whole ones.

    Returns:
        None where nothing was asked.

    Raises:
        NotFiniteError: one of them is no number.
    """
    if not can_store(trainer.args):
        store_reference(trainer, Path(), sharing)
        return 0.0
    trainer.ref_model = None
    begun = time.perf_counter()
    if not is_hashed:
        _weights_sha256(trainer.model)
    pairs = trainer.train_dataset.select_columns(["prompt_ids", "chosen_ids", "rejected_ids"]).to_list()
    rows = _rows(pairs)
    parts = _parts(rows, trainer, sharing)
    once = time.perf_counter() - begun
    num_tokens = _num_tokens(rows, parts)
    if most_tokens < _TOKENS_PER_BATCH:
        parts = _parts(rows, trainer, sharing, most_tokens)
    num_asked, spent, order = 0, 0.0, random.Random(0).sample(range(len(parts)), len(parts))
    with _asking(trainer) as ask:
        while num_asked < len(parts) and spent < seconds:
            begun = time.perf_counter()
            part = [pairs[each] for each in parts[order[num_asked]]]
            _require_finite(trainer, part, list(ask(part)), names)
            spent, num_asked = spent + time.perf_counter() - begun, num_asked + 1
    for column in _COLUMNS:
        trainer.train_dataset = trainer.train_dataset.add_column(column, [0.0] * len(pairs))
    trainer.precompute_ref_logps = True
    ours = _num_tokens(rows, [parts[number] for number in order[:num_asked]])
    return once + spent * num_tokens / ours if num_asked else None


def _num_tokens(rows: list[list[int]], parts: list[list[int]]) -> int:
    return sum(num_distinct([rows[number] for number in part]) for part in parts)


@contextmanager
def _asking(trainer: Any) -> Iterator[Callable[[list[Any]], tuple[list[float], list[float]]]]:
    """The reference's log-probabilities of pairs: of the chosen answers, of the rejected."""

    def ask(pairs: list[Any]) -> tuple[list[float], list[float]]:
        inputs = {name: values.to(trainer.accelerator.device) for name, values in trainer.data_collator(pairs).items()}
        chosen, rejected = trainer.compute_ref_log_probs(trainer.model, inputs)
        return chosen.float().tolist(), rejected.float().tolist()

    was_training = trainer.model.training
    trainer.model.eval()
    with warnings.catch_warnings():
        # TRL 1.16 asks transformers 5.23 by an old name; the user can do nothing about it.
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)
        yield ask
    trainer.model.train(was_training)


def _rows(pairs: list[Any]) -> list[list[int]]:
    return [pair["prompt_ids"] + pair["chosen_ids"] for pair in pairs]


def _parts(
    rows: list[list[int]], trainer: Any, sharing: Sharing, most_tokens: int = _TOKENS_PER_BATCH
) -> list[list[int]]:
    if sharing.off_because is None:
        return batches(rows, most_tokens)
    order, size = sorted(range(len(rows)), key=lambda number: len(rows[number])), trainer.args.train_batch_size
    if most_tokens < _TOKENS_PER_BATCH:
        size = max(1, min(size, most_tokens // len(rows[order[-1]])))
    return [order[start : start + size] for start in range(0, len(order), size)]


def _key(trainer: Any, dataset: Any, weights: str) -> str:
    arguments = trainer.args
    settings: Mapping[str, Any] = {
        "weights": weights,
        "rows": [dataset[column] for column in ("prompt_ids", "chosen_ids", "rejected_ids")],
        "cut": [arguments.max_length, arguments.truncation_mode],
        "ld_alpha": arguments.ld_alpha,
        "is_quantized": bool(getattr(trainer.model, "is_quantized", False)),
        "precision": [str(trainer.model.dtype), trainer.accelerator.mixed_precision, trainer.accelerator.device.type],
    }
    return value_sha256({**settings, "rows": [list(column) for column in settings["rows"]]})[:32]


def _weights_sha256(model: torch.nn.Module) -> str:
    """The hash of what the reference computes with: all weights, or those under a PEFT model's adapters."""
    digest = hashlib.sha256()
    for name, weight in model.named_parameters():
        if not (isinstance(model, PeftModel) and weight.requires_grad):
            digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
            digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
