"""A checkpoint as a folder to hand on: built, loaded as a user would, and held against what was trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import GenerationConfig

from calltune.calling.chat import Chat
from calltune.data.rows import read_examples, read_preferences
from calltune.errors import ModelError, RunFolderError
from calltune.files.hashes import value_sha256
from calltune.files.manifest import model_sha256, read_manifest
from calltune.models.backends.tokens import end_ids
from calltune.models.load import load_model, load_tokenizer, stored_dtype
from calltune.models.parity import Parity, Probe, Reading, compare, read_model
from calltune.runtime.terminal import say
from calltune.training.adapter import load_adapter
from calltune.training.finite import require_finite_weights
from calltune.types import Example, Preference

_NUM_PROBES = 8

_NEW_TOKENS = 32


def build_export(
    checkpoint: Path, base: str | None, dtype: torch.dtype, stored: torch.dtype, max_shard_size: str, built: Path
) -> Parity:
    """Save the model and its tokenizer in `built`, load them as a user would, and hold them against the checkpoint.

    Args:
        checkpoint: its folder, beside the run's `data/`.
        base: the model that its adapter was trained beside, as `as_trained` takes it.
        dtype: of what is saved.
        stored: of the checkpoint's own weights.
    """
    chat = Chat(load_tokenizer(str(checkpoint)), str(checkpoint))
    probes = _probes(chat, checkpoint.parent / "data")
    before = as_trained(checkpoint, base)
    reading = read_model(before, probes, _NEW_TOKENS)
    if isinstance(before, PeftModel) and dtype != stored:
        # Rounded once: the checkpoint's own weights are rounded to another precision already.
        model = before.merge_and_unload().to(dtype)
    else:
        del before
        model = load_model(str(checkpoint), dtype)
    model.generation_config = _generation_config(model, chat)
    require_finite_weights(model, f"export: '{checkpoint}' as {str(dtype).removeprefix('torch.')}")
    model.save_pretrained(str(built), max_shard_size=max_shard_size)
    del model
    chat.tokenizer.save_pretrained(str(built))
    return check_export(reading, probes, built, checkpoint.name)


def as_trained(checkpoint: Path, base: str | None) -> Any:
    """A checkpoint as training left it, in float32: its base with the adapter unmerged, or the whole saved model.

    Args:
        base: the model that its adapter was trained beside; None where there is none, or it was quantised: a quantised
            base is not this base, and what its adapter was merged into is in the saved model alone.

    Raises:
        RunFolderError: the adapter's base is not the one it was trained on.
    """
    adapter = checkpoint / "adapter"
    if base is None or not (adapter / "adapter_config.json").exists():
        return _placed(load_model(str(checkpoint), torch.float32))
    if model_sha256(base) != read_manifest(checkpoint)["inputs"].get("model"):
        raise RunFolderError(f"{checkpoint}: was trained from another model than {base} is now; train it again")
    return _placed(load_adapter(base, adapter))


def check_export(before: Reading, probes: Sequence[Probe], folder: Path, checkpoint: str) -> Parity:
    """Hold a folder, loaded as a user would load it, against what the checkpoint said.

    Raises:
        ModelError: they are not one model.
    """
    stored = stored_dtype(str(folder)) or torch.float32
    parity = compare(before, _placed(load_model(str(folder), stored)), probes, _NEW_TOKENS)
    if parity.problem:
        raise ModelError(f"export: the saved model is not the checkpoint '{checkpoint}': {parity.problem}")
    say(f"export: the saved model is the checkpoint '{checkpoint}': {parity.sentence()}")
    return parity


def _placed(model: Any) -> Any:
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def _probes(chat: Chat, data: Path) -> list[Probe]:
    """Questions with tools and their right answers: of the run's own rows those with the smallest hashes."""
    rows: list[Example | Preference] = []
    for name in ("validation", "train"):
        rows += read_examples(data / f"{name}.jsonl")
        rows += read_preferences(data / f"{'' if name == 'train' else 'validation_'}preferences.jsonl")
        if len(rows) >= _NUM_PROBES:
            break
    rows.sort(key=lambda row: (not row.tools, value_sha256(row.id)))
    return [
        Probe(own.tokenizer(own.prompt(row.prompt, row.tools)).input_ids, _answer_ids(own, row))
        for row in rows[:_NUM_PROBES]
        for own in (chat.for_answers(row.answers),)
    ]


def _answer_ids(chat: Chat, row: Example | Preference) -> list[int]:
    answer = chat.answer(row.prompt, row.tools, row.answers[0])
    return chat.tokenizer(answer, add_special_tokens=False).input_ids


def _generation_config(model: Any, chat: Chat) -> GenerationConfig:
    """Greedy, as it was measured; an answer ends where the checkpoint or its template ends one."""
    pad = chat.tokenizer.pad_token_id
    return GenerationConfig(
        do_sample=False,
        bos_token_id=chat.tokenizer.bos_token_id,
        eos_token_id=sorted(end_ids(model.generation_config, chat)),
        pad_token_id=chat.tokenizer.eos_token_id if pad is None else pad,
    )
