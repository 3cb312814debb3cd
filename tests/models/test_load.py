import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from calltune.errors import ModelError
from calltune.models.load import load_model, load_tokenizer


def test_a_local_folder(tiny_model: Path) -> None:
    assert load_tokenizer(str(tiny_model)).eos_token == "<|im_end|>"
    assert load_model(str(tiny_model), torch.float32).dtype == torch.float32


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "a/b/c"])
def test_a_folder_that_is_not_there(name: str) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        load_tokenizer(name)


def test_a_folder_without_a_model_a_file_and_the_hub(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="its folder holds no tokenizer"):
        load_tokenizer(str(tmp_path))
    with pytest.raises(ModelError, match="holds no model that can be loaded"):
        load_model(str(tmp_path), torch.float32)
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="is a file"):
        load_tokenizer(str(tmp_path / "file"))
    with pytest.raises(ModelError, match="the Hugging Face Hub did not give its tokenizer"):
        load_tokenizer("calltune/there-is-no-such-model")


def test_a_chat_template_of_the_run_file(tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text("{{ messages[0].content }}")
    assert load_tokenizer(str(tiny_model), str(file)).chat_template == "{{ messages[0].content }}"
    with pytest.raises(ModelError, match=r"chat_template '.*none\.jinja': No such file"):
        load_tokenizer(str(tiny_model), str(tmp_path / "none.jinja"))
    file.write_bytes(b"\xff")
    with pytest.raises(ModelError, match="not UTF-8 text"):
        load_tokenizer(str(tiny_model), str(file))


# Only the waiting between the Hub's tries is left out.
ASK_THE_HUB = """
import sys, time
time.sleep = lambda seconds: None
from calltune.errors import ModelError
from calltune.models.load import load_tokenizer
try:
    load_tokenizer("calltune/there-is-no-such-model")
except ModelError as error:
    print(error, file=sys.stderr)
"""


def test_a_hub_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    environment |= {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", ASK_THE_HUB], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stderr == (
        "model 'calltune/there-is-no-such-model': not a local folder, and the Hugging Face Hub did not give its "
        "tokenizer\n"
    )
    assert done.stdout == "the Hugging Face Hub does not answer; it is asked again for up to a minute\n"
