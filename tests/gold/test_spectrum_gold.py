"""Our signal-to-noise ratios and choices against the original's formula on the same matrices (`make_spectrum.py`)."""

import json
from pathlib import Path

import pytest
from make_spectrum import matrices

from calltune.training.spectrum import highest, signal_to_noise

GOLD = json.loads((Path(__file__).parent / "spectrum.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def ratios() -> dict[str, float]:
    weights = matrices()
    for name, weight in weights.items():
        assert weight.double().abs().sum().item() == pytest.approx(GOLD["sums"][name], rel=1e-12), "other matrices"
    return {name: signal_to_noise(weight) for name, weight in weights.items()}


def test_ratios_equal_the_originals(ratios: dict[str, float]) -> None:
    assert ratios.keys() == GOLD["ratios"].keys()
    assert ratios == pytest.approx(GOLD["ratios"], rel=1e-5)


@pytest.mark.parametrize("percent", GOLD["chosen"])
def test_the_same_layers_are_chosen(ratios: dict[str, float], percent: str) -> None:
    layers = {name: ratio for name, ratio in ratios.items() if name.startswith("model.")}
    assert highest(layers, float(percent)) == GOLD["chosen"][percent]
