"""A model is what its folder says: whatever is missing, made up, cut off or foreign is one line, and nothing runs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from changed_models import DOWN, with_config, with_weights
from safetensors.torch import load_file, save_file

from calltune.errors import ModelError
from calltune.models.load import load_model, load_skeleton, load_tokenizer

Change = Callable[[Path], object]


def rewrite(name: str, change: Callable[[bytes], bytes]) -> Change:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def configured(**fields: Any) -> Change:
    def change(folder: Path) -> None:
        table = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(table | fields))

    return change


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")


def sharded(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    names = {DOWN: "model-00001-of-00002.safetensors", "lm_head.weight": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def no_index(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model.safetensors.index.json")


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 481232\n"
NOT_WHOLE = "its weights are not those of one whole model"

BROKEN: dict[str, tuple[Change, str]] = {
    "half of it": (rewrite("model.safetensors", lambda data: data[: len(data) // 2]), "is damaged or not whole"),
    "none of it": (rewrite("model.safetensors", lambda data: b""), "model.safetensors is empty"),
    "a pointer": (rewrite("model.safetensors", lambda data: POINTER), "is a git-lfs pointer, .*run git lfs pull"),
    "a header of another length": (
        rewrite("model.safetensors", lambda data: b"\xff" * 8 + data[8:]),
        "is damaged or not whole",
    ),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "holds no model that can be loaded"),
    "a pickle": (pickled, r"pytorch_model\.bin is a pickle"),
    "a shard is missing": (sharded, "model-00002-of-00002.safetensors, which .* names, is missing"),
    "an index that is none": (no_index, "cannot be read as an index"),
    "no JSON": (rewrite("config.json", lambda data: data[:40]), "config.json is not JSON"),
    "no object": (rewrite("config.json", lambda data: b"[1]"), "config.json holds no JSON object"),
    "a text for a size": (configured(hidden_size="x"), "holds no model that can be loaded: .*hidden_size"),
    "a list for a size": (configured(intermediate_size=[64]), "holds no model that can be loaded: .*intermediate_size"),
    "null for a size": (configured(num_attention_heads=None), "holds no model that can be loaded"),
    "no key heads": (configured(num_key_value_heads=0), "holds no model that can be loaded: ZeroDivisionError"),
    "one layer fewer": (configured(num_hidden_layers=1, layer_types=None), f"{NOT_WHOLE}: .* not part of the model"),
    "one layer more": (configured(num_hidden_layers=3, layer_types=None), f"{NOT_WHOLE}: model.layers.2.* missing"),
    "more layers than a machine holds": (configured(num_hidden_layers=10**9), f"{NOT_WHOLE}: .* 1,000,000,000 layers"),
    "more words than a machine holds": (configured(vocab_size=10**10), f"{NOT_WHOLE}: model.embed_tokens.weight has"),
    "a wider model": (configured(hidden_size=64), f"{NOT_WHOLE}: .* has the shape"),
    "an unknown kind": (configured(model_type="qwen33"), "holds no model that can be loaded: .*qwen33"),
    "attention code of the Hub": (configured(attn_implementation="somebody/attention"), "which is never run"),
    "an adapter": (lambda folder: (folder / "adapter_config.json").write_text("{}"), "merge it into its base first"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_folder_that_is_no_whole_model_is_one_line(name: str, tiny_model: Path, tmp_path: Path) -> None:
    change, message = BROKEN[name]
    folder = shutil.copytree(tiny_model, tmp_path / "m")
    change(folder)
    with pytest.raises(ModelError, match=message) as error:
        load_model(str(folder), torch.float32)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < len(str(folder)) * 3 + 500


def test_a_tokenizer_that_is_a_pointer(tiny_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "m")
    (folder / "tokenizer.json").write_bytes(POINTER)
    with pytest.raises(ModelError, match=r"tokenizer\.json is a git-lfs pointer"):
        load_tokenizer(str(folder))
    (folder / "tokenizer.json").write_text('{"model": 1}')
    with pytest.raises(ModelError, match="holds no tokenizer that can be loaded"):
        load_tokenizer(str(folder))


def test_weights_that_are_missing_or_under_another_name_are_never_made_up(tiny_model: Path, tmp_path: Path) -> None:
    def lose(weights: dict[str, torch.Tensor]) -> None:
        for name in [name for name in weights if name.startswith("model.layers.1.")]:
            del weights[name]

    def rename(weights: dict[str, torch.Tensor]) -> None:
        weights["model.layers.0.mlp.down_project.weight"] = weights.pop(DOWN)

    lost, renamed = with_weights(tiny_model, tmp_path / "l", lose), with_weights(tiny_model, tmp_path / "r", rename)
    told = f"{NOT_WHOLE}: model.layers.1.input_layernorm.weight, .*and [0-9]+ more are missing"
    # Without any weights read, too: `check` and the plan of a stage see it.
    for load in (load_skeleton, lambda model: load_model(model, torch.float32)):
        with pytest.raises(ModelError, match=told):
            load(str(lost))
    with pytest.raises(ModelError, match=f"{DOWN} is missing; model.layers.0.mlp.down_project.weight is not part of"):
        load_model(str(renamed), torch.float32)


def test_a_head_that_is_tied_may_be_stored_or_not(tiny_model: Path, tmp_path: Path) -> None:
    assert "lm_head.weight" not in load_file(tiny_model / "model.safetensors")

    def store(weights: dict[str, torch.Tensor]) -> None:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()

    both = with_weights(tiny_model, tmp_path / "both", store)
    for folder in (tiny_model, both):
        model: Any = load_model(str(folder), torch.float32)
        assert model.lm_head.weight is model.model.embed_tokens.weight


def test_what_transformers_declares_ignorable_is_ignored(tiny_model: Path, tmp_path: Path) -> None:
    """Checkpoints of old hold a buffer that later versions compute."""
    folder = with_weights(
        tiny_model,
        tmp_path / "old",
        lambda weights: weights.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}),
    )
    assert load_model(str(folder), torch.float32).dtype == torch.float32


def test_weights_in_several_files_are_one_model(tiny_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    files = {f"model-0000{n + 1}-of-00002.safetensors": names[n::2] for n in range(2)}
    for file, own in files.items():
        save_file({name: weights[name] for name in own}, folder / file, metadata={"format": "pt"})
    index = {name: file for file, own in files.items() for name in own}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    ours, theirs = (load_model(str(each), torch.float32).state_dict() for each in (folder, tiny_model))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_code_of_a_folder_that_transformers_needs_not_is_told_and_not_run(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    auto_map = {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"}
    folder = with_config(tiny_model, tmp_path / "own", auto_map=auto_map)
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    load_model(str(folder), torch.float32)
    assert capsys.readouterr().out.count("brings code of its own, which is not run; transformers' own is used") == 1
    assert not (tmp_path / "ran").exists()
