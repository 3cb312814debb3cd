"""A run of every stage that takes seconds: its run file, the folder it works in, and what must come out of it."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from forked import must
from planted_run import plant_questions

from calltune.files.hashes import file_sha256

ROOT = Path(__file__).parents[2]
RUN: dict[str, Any] = {
    "name": "toy",
    "model": "model",
    "output": "runs",
    "seed": 1,
    "data": {
        "validation_fraction": 0.0,
        "sources": [{"name": "synthetic", "num_examples": 12, "num_pairs": 8, "num_questions": 8}],
    },
    "sft": {"per_device_train_batch_size": 4, "num_train_epochs": 1.0, "save_steps": 1, "learning_rate": 1e-3},
    "dpo": {"per_device_train_batch_size": 4, "num_train_epochs": 1, "beta": 0.1, "loss_type": ["sigmoid"]},
    "tuning": {"method": "full"},
    # How much is asked hangs on the clock where there is no time for it, and reports are compared.
    "guard": {"num_questions": 4, "time_share": 1000.0},
    "gate": {"rules": ["when2call.acc_norm >= 0.0"], "decide_by": "value"},
    "tracking": {"mlflow": False, "uri": "sqlite:///m.db"},
    "launch": {"processes": 1},
    "evaluate": {
        "benchmarks": [
            {"name": "when2call", "path": "questions.jsonl"},
            {"name": "when2call_generation", "path": "questions.jsonl", "max_new_tokens": 4},
            {"name": "bfcl", "path": "bfcl", "max_new_tokens": 4},
        ]
    },
}


def begun(folder: Path) -> None:
    """A working folder in which nothing has been run."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tiny = ROOT / "examples" / "tiny-qwen3"
    (folder / "model").mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        shutil.copy(tiny / name, folder / "model" / name)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = json.loads((tiny / "config.json").read_text()) | sizes | {"num_key_value_heads": 1, "head_dim": 16}
    torch.manual_seed(0)
    Qwen3ForCausalLM(Qwen3Config(**{k: v for k, v in config.items() if k != "layer_types"})).save_pretrained(
        str(folder / "model")
    )
    (folder / "run.json").write_text(json.dumps(RUN))
    (folder / "run.toml").write_text(_toml(RUN))
    plant_questions(folder / "questions.jsonl", 8)
    shutil.copytree(ROOT / "tests/gold/bfcl_toy", folder / "bfcl", ignore=shutil.ignore_patterns("answers.jsonl"))


def _toml(table: dict[str, Any], above: str = "") -> str:
    """The tables of `RUN` as TOML; JSON writes their plain values as TOML does."""
    plain = {key: value for key, value in table.items() if not _tables(value)}
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in plain.items())
    for key, value in table.items():
        if isinstance(value, dict):
            text += f"\n[{above}{key}]\n" + _toml(value, f"{above}{key}.")
        elif _tables(value):
            text += "".join(f"\n[[{above}{key}]]\n" + _toml(part, f"{above}{key}.") for part in value)
    return text


def _tables(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(part, dict) for part in value))


def make(folder: Path) -> None:
    """A working folder with a run that is complete, and exported."""
    begun(folder)
    for words in (["run", "run.json"], ["export", "run.json"]):
        must(words, folder)


def outcome(folder: Path) -> dict[str, Any]:
    """What must not depend on how a run was disturbed: hashes of weights and answers, and the report without clocks."""
    names = ("*/model.safetensors", "*/adapter_model.safetensors", "eval/*/*/*.jsonl", "data/*.jsonl")
    files = sorted(file for name in names for file in folder.glob(name))
    hashes = {str(file.relative_to(folder)): file_sha256(file) for file in files}
    return {"files": hashes, "report": _without_clocks(json.loads((folder / "report.json").read_text()))}


def _without_clocks(value: Any) -> Any:
    if isinstance(value, dict):
        # The process that comes through says where it began, and counts only the tokens that it computed itself.
        timed = ("seconds", "per_second", "runtime", "resumed_from", "shared_prefixes")
        return {key: _without_clocks(inner) for key, inner in value.items() if not key.endswith(timed)}
    return [_without_clocks(inner) for inner in value] if isinstance(value, list) else value
