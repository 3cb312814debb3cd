"""What several test files need."""

import gc
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

# Before torch is imported anywhere: oversubscribed threads are ruinous for tiny models.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
# What libraries keep in a home, which may be somebody's own or none that can be written.
os.environ["HF_HOME"] = os.environ["XDG_CONFIG_HOME"] = f"{tempfile.gettempdir()}/calltune-tests-{os.getuid()}"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # What a shell begins in the background ignores Ctrl-C, and so would every process that a test starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest

ROOT = Path(__file__).parents[1]


SLOWEST = ("whole", "launch", "verbs", "gold", "training", "data")
"""Folders by their longest file, which is begun first: no process shall be alone with a long one in the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        return SLOWEST.index(folder) if folder in SLOWEST else len(SLOWEST)

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Looking for garbage among all that the tests imported takes a tenth of their time, and there is none."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real rows, which is not part of the project: `CALLTUNE_SHARED_DATA`, or beside the checkout."""
    folder = Path(os.environ.get("CALLTUNE_SHARED_DATA") or ROOT.parent / "shared" / "data")
    # Beside a checkout there may be a folder of that name which is something else.
    if not all((folder / name).is_dir() for name in ("bfcl", "qwen3", "traces", "when2call")):
        pytest.skip(f"real rows are not there: {folder} (set CALLTUNE_SHARED_DATA)")
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen3 of two layers with random weights and the shipped tokenizer."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tiny-model")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(ROOT / "examples" / "tiny-qwen3" / name, folder / name)
    ids = {t["content"]: t["id"] for t in json.loads((folder / "tokenizer.json").read_text())["added_tokens"]}
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=3072,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=ids["<|im_end|>"],
        pad_token_id=ids["<|endoftext|>"],
    )
    Qwen3ForCausalLM(config).save_pretrained(str(folder))
    return folder


@pytest.fixture
def write_run_file(tmp_path: Path, tiny_model: Path) -> Callable[..., Path]:
    """Write a small run file over the synthetic source; `extra` is TOML put at its end, `top` at its beginning."""

    def write(extra: str = "", top: str = "", model: Path = tiny_model) -> Path:
        file = tmp_path / "run.toml"
        file.write_text(
            f'''
name = "toy"
model = "{model}"
output = "{tmp_path}/runs"
{top}
[data]
validation_fraction = 0.0
[[data.sources]]
name = "synthetic"
num_examples = 24
num_pairs = 16
num_questions = 8
[sft]
per_device_train_batch_size = 4
[dpo]
per_device_train_batch_size = 4
[tracking]
mlflow = false
[[evaluate.benchmarks]]
name = "when2call"
path = "{{run}}/data/test.jsonl"
[[evaluate.benchmarks]]
name = "when2call_generation"
path = "{{run}}/data/test.jsonl"
max_new_tokens = 8
{extra}
'''
        )
        return file

    return write
