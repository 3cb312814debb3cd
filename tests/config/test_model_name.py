"""What a model is called where people read it."""

from pathlib import Path

import pytest

from calltune.config.model_name import GGUF_ORIGIN, model_name


def test_a_folder_that_was_read_from_a_gguf_file_has_its_name(tmp_path: Path) -> None:
    (tmp_path / GGUF_ORIGIN).write_text('{"file": "tiny.Q8_0.gguf", "sha256": "0"}')
    assert model_name(str(tmp_path)) == "tiny.Q8_0.gguf"


@pytest.mark.parametrize("text", [None, "", "[]", "{}", "{"])
def test_any_other_model_is_called_as_it_is_given(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / GGUF_ORIGIN).write_text(text)
    assert model_name(str(tmp_path)) == str(tmp_path)
    assert model_name("Qwen/Qwen3-0.6B") == "Qwen/Qwen3-0.6B"
