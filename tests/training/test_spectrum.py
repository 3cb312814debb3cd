import math
from pathlib import Path

import pytest
import torch

from calltune.errors import ConfigError, ModelError
from calltune.training.spectrum import highest, kind_of, read_unfrozen, signal_to_noise, singular_values, write_unfrozen


def ratios(kind: str, *values: float) -> dict[str, float]:
    return {f"model.layers.{layer}.{kind}": value for layer, value in enumerate(values)}


@pytest.mark.parametrize("shape", [(40, 40), (24, 60), (60, 24), (9, 7), (1, 5)])
def test_singular_values_equal_svdvals(shape: tuple[int, int]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(singular_values(weight), torch.linalg.svdvals(weight.double()), rtol=1e-7, atol=1e-7)


def test_a_matrix_ten_times_as_large_has_a_tenth_of_the_ratio() -> None:
    weight = torch.randn(64, 128, generator=torch.Generator().manual_seed(0))
    assert signal_to_noise(10 * weight) == pytest.approx(signal_to_noise(weight) / 10, rel=1e-6)


@pytest.mark.parametrize("weight", [torch.zeros(4, 6), torch.eye(5), torch.full((4, 4), math.nan)])
def test_a_matrix_without_noise_or_with_nan_has_no_finite_ratio(weight: torch.Tensor) -> None:
    assert not math.isfinite(signal_to_noise(weight))


def test_the_kind_is_what_follows_the_layer_number() -> None:
    assert kind_of("model.layers.12.mlp.down_proj") == "mlp.down_proj"
    assert kind_of("model.embed_tokens") is None


def test_of_each_kind_the_highest_are_chosen_rounded_down() -> None:
    both = ratios("mlp.up_proj", 0.1, 0.4, 0.2, 0.3, 0.0) | ratios("self_attn.q_proj", 5.0, 4.0, 3.0, 2.0, 1.0)
    assert highest(both, 50) == {
        "mlp.up_proj": ["model.layers.1.mlp.up_proj", "model.layers.3.mlp.up_proj"],
        "self_attn.q_proj": ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"],
    }
    assert len(highest(both, 100)["mlp.up_proj"]) == 5


@pytest.mark.parametrize(
    ("values", "percent", "message"),
    [
        ((1.0, 1.0, 1.0, 1.0), 50, "'mlp.up_proj': .* have the same signal-to-noise ratio"),
        ((3.0, 2.0, 2.0, 1.0), 50, "'model.layers.1.mlp.up_proj' and 'model.layers.2.mlp.up_proj' have the same"),
        ((3.0, math.nan, 2.0, 1.0), 50, "cannot rank 'mlp.up_proj': .* of 'model.layers.1.mlp.up_proj' is nan"),
        ((3.0, math.inf, 2.0, 1.0), 50, "is inf"),
        ((3.0, 2.0), 40, "chooses nothing: 40 % of 2 layers is less than one"),
    ],
)
def test_what_cannot_be_ranked_is_told(values: tuple[float, ...], percent: float, message: str) -> None:
    with pytest.raises(ModelError, match=message) as error:
        highest(ratios("mlp.up_proj", *values), percent)
    assert "\n" not in str(error.value)


def test_equals_on_one_side_of_the_border_are_no_matter_of_chance() -> None:
    assert len(highest(ratios("mlp.up_proj", 3.0, 3.0, 2.0, 1.0), 50)["mlp.up_proj"]) == 2


def test_the_file_is_the_originals(tmp_path: Path) -> None:
    file = tmp_path / "some.yaml"
    write_unfrozen(file, ["^lm_head.weight$"], {"mlp.up_proj": ["model.layers.3.mlp.up_proj"], "mlp.gate_proj": []})
    assert file.read_text() == (
        "unfrozen_parameters:\n- ^lm_head.weight$\n# mlp.up_proj layers\n- model.layers.3.mlp.up_proj\n"
        "# mlp.gate_proj layers\n"
    )
    assert read_unfrozen(file) == ["^lm_head.weight$", "model.layers.3.mlp.up_proj"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("a: [", "not YAML"),
        ("unfrozen: []", "'unfrozen_parameters' must be a list of patterns"),
        ("unfrozen_parameters: [3]", "'unfrozen_parameters' must be a list of patterns"),
        ("unfrozen_parameters: ['a(']", r"'a\(' is not a regular expression"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "some.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        read_unfrozen(tmp_path / "some.yaml")
    assert "\n" not in str(error.value)
