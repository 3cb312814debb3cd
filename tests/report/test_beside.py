from pathlib import Path
from typing import Any

import pytest

from calltune.errors import RunFolderError
from calltune.files.json_lines import write_json
from calltune.files.state import Manifest, read_state
from calltune.report.beside import kept_by_guard, stage_of_manifest


@pytest.mark.parametrize(
    ("guard", "said"),
    [
        ({}, ""),
        (None, ""),
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
def test_a_model_of_an_earlier_step_is_told(guard: dict[str, Any] | None, said: str) -> None:
    manifest = {"steps": 24, "guard": guard, "inputs": {}}
    assert kept_by_guard(manifest) == said
    assert stage_of_manifest(manifest).kept == said


def test_a_guard_of_another_shape_is_one_line(tmp_path: Path) -> None:
    write_json(tmp_path / "manifest.json", {"inputs": {}, "sha256": {}, "steps": 24, "guard": {"kept_step": "6"}})
    with pytest.raises(
        RunFolderError, match=r"manifest\.json: 'guard\.kept_step' is wrong: input should be a valid integer"
    ):
        read_state(tmp_path / "manifest.json", Manifest)


def test_a_stage_without_a_guard_says_nothing_of_it() -> None:
    assert kept_by_guard({"inputs": {}}) == ""
