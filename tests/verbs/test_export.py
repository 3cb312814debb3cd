"""The export is the checkpoint, loaded as a user would load it; a merge in the wrong precision is refused."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from first_layers import with_first_layers
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from calltune.calling.chat import Chat
from calltune.cli import main
from calltune.config.run_file import load_config
from calltune.data.rows import read_examples
from calltune.files.manifest import finish, read_manifest
from calltune.models.load import load_model, load_tokenizer
from calltune.verbs.export import base_card

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "examples" / "tiny-qwen3"
LORA = ["tuning.method=lora", "lora.r=4"]
FEW_STEPS = ["sft.max_steps=3", "sft.learning_rate=1e-3", "dpo.max_steps=2", "evaluate.benchmarks=[]"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of the shipped model: weights as training leaves them, in bfloat16, in a third of its time."""
    return with_first_layers(2, SHIPPED, tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[object]]:
    """Where runs are kept that were trained already, and which."""
    return tmp_path_factory.mktemp("runs"), []


@pytest.fixture
def trained(
    write_run_file: Callable[..., Path], base: Path, tmp_path: Path, runs: tuple[Path, list]
) -> Callable[..., Path]:
    """Train a run on the base for a few steps, or take it as it was trained for another test; the run file."""

    def train(*overrides: str, stages: tuple[str, ...] = ("sft",)) -> Path:
        file, (kept, known) = write_run_file(model=base), runs
        if (overrides, stages) in known:
            shutil.copytree(kept / str(known.index((overrides, stages))), tmp_path / "runs", dirs_exist_ok=True)
            return file
        for verb in ("prepare", *stages):
            assert main([verb, str(file), *FEW_STEPS, *overrides]) == 0
        known.append((overrides, stages))
        shutil.copytree(tmp_path / "runs", kept / str(len(known) - 1))
        return file

    return train


def export(file: Path, *overrides: str) -> int:
    return main(["export", str(file), *FEW_STEPS, *overrides])


def greedy(model: Any, tokenizer: Any, prompts: list[str]) -> list[str]:
    answers = []
    for prompt in prompts:
        batch = tokenizer(prompt, return_tensors="pt")
        made = model.generate(**batch, max_new_tokens=12)
        answers.append(tokenizer.decode(made[0, batch.input_ids.shape[1] :]))
    return answers


def prompts_of(run: Path, tokenizer: Any) -> list[str]:
    chat = Chat(tokenizer)
    return [chat.prompt(row.prompt, row.tools) for row in read_examples(run / "data" / "train.jsonl")[:6]]


@pytest.mark.parametrize(("overrides", "stages"), [([], ("sft",)), (LORA, ("sft", "dpo"))], ids=["full", "lora"])
def test_an_export_answers_as_its_checkpoint(
    overrides: list[str],
    stages: tuple[str, ...],
    trained: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, run = trained(*overrides, stages=stages), tmp_path / "runs" / "toy"
    assert export(file, *overrides, "export.max_shard_size=2MB") == 0
    said = capsys.readouterr().out
    assert f"export: the saved model is the checkpoint '{stages[-1]}': " in said
    assert f"vllm serve {run / 'export'} --enable-auto-tool-choice --tool-call-parser hermes" in said
    folder = run / "export"
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    ours: Any = AutoModelForCausalLM.from_pretrained(folder)
    theirs: Any = AutoModelForCausalLM.from_pretrained(run / stages[-1])
    assert ours.dtype == torch.bfloat16
    for name, weight in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], weight), name
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    prompts = prompts_of(run, tokenizer)
    assert greedy(ours, tokenizer, prompts) == greedy(theirs, AutoTokenizer.from_pretrained(run / stages[-1]), prompts)
    assert tokenizer.chat_template == (SHIPPED / "chat_template.jinja").read_text(encoding="utf-8")
    assert ours.generation_config.do_sample is False
    assert ours.generation_config.eos_token_id == [tokenizer.eos_token_id]
    assert ours.generation_config.pad_token_id == tokenizer.pad_token_id
    # Readable for whom any file is that this process writes.
    (tmp_path / "any file").touch()
    assert {path.stat().st_mode for path in folder.iterdir()} == {(tmp_path / "any file").stat().st_mode}


def test_partly_frozen_weights_are_exported_whole(base: Path, trained: Callable[..., Path], tmp_path: Path) -> None:
    """What training left untouched is bit for bit the base's."""
    only = '["model.layers.1.mlp.down_proj", "model.layers.1.mlp.up_proj"]'
    overrides = [*LORA, f"lora.target_modules={only}"]
    file, run = trained(*overrides), tmp_path / "runs" / "toy"
    assert export(file, *overrides) == 0
    before, after = load_file(base / "model.safetensors"), load_file(run / "export" / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"model.layers.1.mlp.down_proj.weight", "model.layers.1.mlp.up_proj.weight"}


def spread(file: Path, size_of_a: float, size_of_b: float, where: str) -> None:
    """Give an adapter's matrices other sizes; elsewhere than `where` it does nothing."""
    torch.manual_seed(0)
    weights = load_file(file)
    for name, weight in weights.items():
        size = size_of_a if "lora_A" in name else size_of_b if where in name else 0.0
        weights[name] = torch.randn(weight.shape) * size
    save_file(weights, file, metadata={"format": "pt"})


def save_merged(base: Path, dtype: torch.dtype, stage: Path, *, adapter_too: bool = False) -> None:
    """Merge in a precision and save the result as the stage's model, as a recipe would do it."""
    model = PeftModel.from_pretrained(
        load_model(str(base), dtype), str(stage / "adapter"), autocast_adapter_dtype=not adapter_too
    )
    if adapter_too:
        model.to(dtype)
    merged: Any = model.merge_and_unload()
    merged.to(torch.bfloat16 if dtype == torch.float32 else dtype).save_pretrained(str(stage))
    told = read_manifest(stage)
    finish(stage, told["inputs"], **{name: told[name] for name in ("counts", "steps", "trainable_share")})


WRONG_MERGES = {
    # float16 ends at 65,504: the weights still fit, what flows through the layer does not.
    "activations overflow": (1.0, 3e2, "layers.0.mlp.down_proj", False),
    # float16 has steps of 6e-8 near zero: the small matrix is lost in them, though the product is of ordinary size.
    "small numbers are lost": (3e-8, 1e4, "mlp", True),
}


@pytest.mark.parametrize("kind", WRONG_MERGES)
def test_a_merge_in_float16_is_refused_and_the_right_one_passes(
    kind: str, base: Path, trained: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, stage = trained(*LORA), tmp_path / "runs" / "toy" / "sft"
    size_of_a, size_of_b, where, adapter_too = WRONG_MERGES[kind]
    spread(stage / "adapter" / "adapter_model.safetensors", size_of_a, size_of_b, where)
    save_merged(base, torch.float16, stage, adapter_too=adapter_too)
    capsys.readouterr()
    assert export(file, *LORA) == 2
    error = capsys.readouterr().err
    refused = "export: the saved model is not the checkpoint 'sft': log-likelihoods (differ by|of one .* not finite)"
    assert re.match(f"calltune: {refused}", error)
    assert error.count("\n") == 1
    assert not list(stage.parent.glob("*export*"))
    save_merged(base, torch.float32, stage)
    assert export(file, *LORA) == 0
    assert "(tolerance of the average: 0.031)" in capsys.readouterr().out


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_another_precision_is_rounded_to_once(
    dtype: str, base: Path, trained: Callable[..., Path], tmp_path: Path
) -> None:
    file, run = trained(*LORA), tmp_path / "runs" / "toy"
    assert export(file, *LORA, f"export.dtype={dtype}") == 0
    model = PeftModel.from_pretrained(load_model(str(base), torch.float32), str(run / "sft" / "adapter"))
    merged: Any = model.merge_and_unload()
    ours: Any = AutoModelForCausalLM.from_pretrained(run / "export")
    for name, weight in merged.state_dict().items():
        assert torch.equal(ours.state_dict()[name], weight.to(getattr(torch, dtype))), name


def test_an_export_is_skipped_or_kept_aside(
    trained: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, run = trained(), tmp_path / "runs" / "toy"
    assert export(file) == 0
    manifest = json.loads((run / "export" / "manifest.json").read_text())
    assert manifest["sha256"].keys() == {path.name for path in (run / "export").iterdir()} - {"manifest.json"}
    parity = manifest["parity"]
    assert (manifest["checkpoint"], manifest["dtype"], parity["num_probes"]) == ("sft", "bfloat16", 8)
    assert parity["mean_difference"] < parity["tolerance"]
    (run / ".export.partial" / "export").mkdir(parents=True)
    (run / ".export.partial" / "export" / "half.safetensors").write_text("")
    capsys.readouterr()
    assert export(file) == 0
    assert capsys.readouterr().out == "export: complete and unchanged, skipped\n"
    assert export(file, "export.dtype=float32") == 0
    assert "export: settings changed since it was made; the old one is kept as export.old-1" in capsys.readouterr().out
    assert not (run / "export" / "half.safetensors").exists()
    assert not (run / ".export.partial").exists()


def test_what_cannot_be_exported(
    base: Path,
    trained: Callable[..., Path],
    write_run_file: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refused(*overrides: str) -> str:
        assert export(write_run_file(model=base), *overrides) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    assert "holds no complete dpo or sft to export yet" in refused()
    trained(*LORA)
    assert "holds no complete dpo to export yet" in refused(*LORA, "export.checkpoint=dpo")
    assert "'export.checkpoint' is 'dpo', which is not among" in refused("stages=['sft']", "export.checkpoint=dpo")
    assert "'export.max_shard_size'" in refused("export.max_shard_size=0GB")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("dear to me")
    assert "is there already and no export of calltune's" in refused(*LORA, f"export.folder={mine}")
    assert (mine / "thesis.txt").read_text() == "dear to me"


def test_run_exports_when_the_table_is_there(
    write_run_file: Callable[..., Path], base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, run = write_run_file(extra="[export]", model=base), tmp_path / "runs" / "toy"
    keys = ["stages=['sft']", "sft.max_steps=1", "evaluate.checkpoints=['sft']"]
    assert load_config(file).export is not None
    assert main(["run", str(file), *keys]) == 0
    card = (run / "export" / "README.md").read_text(encoding="utf-8")
    assert "**when2call**: 8 questions" in card
    assert "The report's verdict on sft" in card
    assert load_tokenizer(str(run / "export")).chat_template


@pytest.mark.parametrize(
    ("card", "known"),
    [
        (None, {}),
        ("# Nothing about it\n", {}),
        ("---\nlicense: [\n---\n", {}),
        ("---\n- license\n---\n", {}),
        ("---\nlicense: 7\n---\n", {}),
        (
            "---\nlicense: other\nlicense_name: qwen\ntags: [x]\nbase_model: Qwen/Qwen3-0.6B\n---\n# A\n",
            {"license": "other", "license_name": "qwen", "base_model": "Qwen/Qwen3-0.6B"},
        ),
    ],
)
def test_what_the_base_s_card_says(card: str | None, known: dict[str, str], tmp_path: Path) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card, encoding="utf-8")
    assert base_card(str(tmp_path)) == known


def test_a_base_of_the_hub_is_named_even_when_the_hub_is_out_of_reach() -> None:
    assert base_card("owner/no-such-model") == {"base_model": "owner/no-such-model"}
