from typing import Any

import pytest

from calltune.report.beside import kept_by_guard, stage_of_manifest


@pytest.mark.parametrize(
    ("guard", "said"),
    [
        ({}, ""),
        ({"kept_step": None, "collapse": None}, ""),
        # Its best check was the last one.
        ({"kept_step": 24, "collapse": None}, ""),
        (
            {"kept_step": 18, "collapse": None},
            "the model is that of step 18: the guard's best check of 24 steps",
        ),
        (
            {"kept_step": 6, "collapse": "call recall fell from 0.90 to 0.10"},
            "the model is that of step 6: training ended at step 24, as call recall fell from 0.90 to 0.10",
        ),
    ],
)
def test_a_model_of_an_earlier_step_is_told(guard: dict[str, Any], said: str) -> None:
    manifest = {"steps": 24, "guard": guard, "inputs": {}}
    assert kept_by_guard(manifest) == said
    assert stage_of_manifest(manifest).kept == said


def test_a_stage_without_a_guard_says_nothing_of_it() -> None:
    assert kept_by_guard({"inputs": {}}) == ""
