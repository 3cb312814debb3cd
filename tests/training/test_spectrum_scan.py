import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from calltune.errors import ModelError
from calltune.training.spectrum import signal_to_noise
from calltune.training.spectrum_scan import scan, weight_files


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "calltune" / "spectrum"


def save(folder: Path, **weights: torch.Tensor) -> str:
    folder.mkdir(exist_ok=True)
    save_file({name.replace("__", "."): weight for name, weight in weights.items()}, folder / "model.safetensors")
    return str(folder)


def test_every_matrix_in_the_layers_and_nothing_else(tiny_model: Path) -> None:
    found = scan(str(tiny_model))
    attention = [f"self_attn.{name}_proj" for name in "koqv"]
    kinds = ["mlp.down_proj", "mlp.gate_proj", "mlp.up_proj", *attention]
    assert list(found) == [f"model.layers.{layer}.{kind}" for layer in (0, 1) for kind in kinds]
    weights = load_file(tiny_model / "model.safetensors")
    assert found == {module: signal_to_noise(weights[f"{module}.weight"]) for module in found}


def test_layers_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    weights = {f"model__layers__{layer}__up__weight": torch.randn(8, 8) for layer in range(12)}
    assert list(scan(save(tmp_path / "m", **weights))) == [f"model.layers.{layer}.up" for layer in range(12)]


def test_shards_and_workers_change_nothing(tiny_model: Path, tmp_path: Path, cache: Path) -> None:
    whole = scan(str(tiny_model), workers=1)
    weights = load_file(tiny_model / "model.safetensors")
    folder = tmp_path / "shards"
    folder.mkdir()
    parts = {"model-00001-of-00002.safetensors": [], "model-00002-of-00002.safetensors": []}
    for number, name in enumerate(weights):
        parts[sorted(parts)[number % 2]].append(name)
    for file, names in parts.items():
        save_file({name: weights[name] for name in names}, folder / file)
    index = {"weight_map": {name: file for file, names in parts.items() for name in names}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert len(weight_files(str(folder))) == 2
    assert scan(str(folder), workers=3) == whole
    assert len(list(cache.iterdir())) == 2


def test_the_second_time_is_read_from_the_cache_unless_a_weight_changed(
    tiny_model: Path, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    first = scan(str(model))
    assert "14 matrices" in capsys.readouterr().out
    kept = next(cache.iterdir())
    assert scan(str(model)) == first
    assert f"read from {kept}" in capsys.readouterr().out
    weights = load_file(model / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"] *= 2
    save_file(weights, model / "model.safetensors")
    assert scan(str(model))["model.layers.0.mlp.up_proj"] == pytest.approx(first["model.layers.0.mlp.up_proj"] / 2)


def test_a_damaged_cache_is_computed_anew(tiny_model: Path, cache: Path) -> None:
    first = scan(str(tiny_model))
    next(cache.iterdir()).write_text('{"model.lay')
    assert scan(str(tiny_model)) == first
    assert json.loads(next(cache.iterdir()).read_text()) == first


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"model__layers__0__mlp__experts": torch.ones(4, 8, 8)}, "'mlp.experts' is not one"),
        ({"model__layers__0__mlp__experts__3__up__weight": torch.ones(8, 8)}, "'mlp.experts.3.up' is not one"),
        ({"model__layers__0__up__weight": torch.ones(8, 8, dtype=torch.int8)}, r"quantised \(I8\)"),
        ({"model__norm__weight": torch.ones(8)}, "no weight matrix in numbered layers"),
    ],
)
def test_weights_that_have_no_rank(tmp_path: Path, weights: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        scan(save(tmp_path / "m", **weights))


def test_no_weights_or_broken_ones(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no model\.safetensors"):
        scan(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged or not whole"):
        scan(str(tmp_path))
    with pytest.raises(ModelError, match="the Hugging Face Hub did not give its weights"):
        scan("calltune/there-is-no-such-model")
