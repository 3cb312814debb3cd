import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

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
for model in sys.argv[1:]:
    try:
        load_tokenizer(model)
    except ModelError as error:
        print(error, file=sys.stderr)
"""


def asked(folder: Path, *models: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What is told of these models, with such an environment and an empty cache."""
    others = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    command = [sys.executable, "-c", ASK_THE_HUB, *models]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, env={**others, "HF_HOME": str(folder), **environment}
    )


def test_a_hub_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    done = asked(tmp_path, "calltune/there-is-no-such-model", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.stderr == (
        "model 'calltune/there-is-no-such-model': not a local folder, and the Hugging Face Hub did not give its "
        "tokenizer: it does not answer, and the cache does not hold the model\n"
    )
    assert done.stdout == "the Hugging Face Hub does not answer; it is asked again for up to a minute\n"


def test_a_hub_that_may_not_be_asked(tmp_path: Path) -> None:
    done = asked(tmp_path, "calltune/a-model", HF_HUB_OFFLINE="1")
    assert done.stderr.endswith(
        "its tokenizer: it is not asked, since HF_HUB_OFFLINE is set, and the cache does not hold the model\n"
    )
    assert done.stdout == ""


class Refusing(BaseHTTPRequestHandler):
    """A Hub that refuses every model, for the reason that is its name."""

    def do_HEAD(self) -> None:
        name = self.path.split("/")[2]
        self.send_response({"gated": 403, "missing": 404, "empty": 404}[name])
        code = {"gated": "GatedRepo", "missing": "RepoNotFound", "empty": "EntryNotFound"}[name]
        self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *args: object) -> None:
        """Say nothing of it."""


def test_a_hub_that_refuses_says_why(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        done = asked(tmp_path, "of/gated", "of/missing", HF_ENDPOINT=f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
    before = "not a local folder, and the Hugging Face Hub did not give its tokenizer"
    assert done.stderr.splitlines() == [
        f"model 'of/gated': {before}: it is gated; accept its terms at https://huggingface.co/of/gated, and log in "
        "(hf auth login)",
        f"model 'of/missing': {before}: there is no such model, or it is private and needs a login (hf auth login)",
    ]
