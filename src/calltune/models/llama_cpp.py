"""A GGUF file as llama.cpp runs it: its tokens of a text, and its greedy answers.

The package `xllamacpp` is llama.cpp's server as a library. It runs in a process of its own, because a file that it does
not like may end the process; it listens on the loopback address alone, and answers to a key that this process made.
"""

import contextlib
import json
import os
import secrets
import select
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from calltune.errors import ModelError
from calltune.models.gguf_writing import ended_with_us
from calltune.runtime.threads import available_cores

_KEY = "CALLTUNE_LLAMA_CPP_KEY"
_READY = "listening: "
_TEMPLATE_FAULT, _SOME_TEMPLATE = "chat template parsing error", "chatml"
_SECONDS_TO_LOAD, _SECONDS_TO_ANSWER = 600.0, 600.0


class LlamaCpp:
    """A file that is loaded; `template_fault` says why llama.cpp cannot use its chat template, or is empty."""

    def __init__(self, file: Path, address: str, key: str, template_fault: str) -> None:
        self._file, self._address, self._key, self.template_fault = file, address, key, template_fault
        # The environment's proxies are for other machines.
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def tokens(self, text: str) -> list[int]:
        """The ids of a text, with the token that the model begins a text with where it has one."""
        return self._ask("/tokenize", {"content": text, "add_special": True, "parse_special": True})["tokens"]

    def prompt(self, messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]], **keys: Any) -> str:
        """A conversation in OpenAI's layout as the file's own chat template writes it; `keys` are told to it.

        Raises:
            ModelError: llama.cpp refuses it.
        """
        body = {"messages": list(messages), "chat_template_kwargs": keys, **({"tools": list(tools)} if tools else {})}
        return self._ask("/apply-template", body)["prompt"]

    def answer(self, prompt: Sequence[int], max_new_tokens: int) -> list[int]:
        """The greedy answer's ids, with the one that ends it."""
        asked = {
            "prompt": list(prompt),
            "n_predict": max_new_tokens,
            "temperature": 0,
            "samplers": ["temperature"],
            "repeat_penalty": 1.0,
            "return_tokens": True,
            "cache_prompt": True,
        }
        return self._ask("/completion", asked)["tokens"]

    def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        request = urllib.request.Request(self._address + path, json.dumps(body, allow_nan=False).encode(), headers)
        try:
            with self._open(request, timeout=_SECONDS_TO_ANSWER) as reply:
                return json.loads(reply.read())
        except urllib.error.HTTPError as error:
            raise ModelError(f"{self._file.name}: llama.cpp refuses a prompt: {_words(error.read())}") from None
        except (OSError, ValueError) as error:
            raise ModelError(f"{self._file.name}: llama.cpp's process ended at a prompt: {error}") from None


@contextlib.contextmanager
def loaded(file: Path, num_context: int) -> Iterator[LlamaCpp]:
    """A GGUF file, loaded by llama.cpp for conversations of so many tokens.

    Raises:
        ModelError: llama.cpp does not load it.
    """
    with contextlib.ExitStack() as stack:
        model, lines = _load(stack, file, num_context)
        if model is None and any(_TEMPLATE_FAULT in line for line in lines):
            # A server that cannot read a template does not start; what else is asked of the file needs none.
            fault = next((line for line in lines if line.startswith("Error:")), "it cannot be parsed")
            model, lines = _load(stack, file, num_context, fault.removeprefix("Error:").strip())
        if model is None:
            raise ModelError(f"{file.name}: llama.cpp does not load it: {_last(lines)}")
        yield model


def _load(
    stack: contextlib.ExitStack, file: Path, num_context: int, template_fault: str = ""
) -> tuple[LlamaCpp | None, list[str]]:
    """The file, or None; and what llama.cpp said. With a `template_fault` the file's template is left out."""
    key = secrets.token_hex(16)
    template = _SOME_TEMPLATE if template_fault else ""
    words = [sys.executable, "-m", __name__, str(file), str(num_context), str(available_cores()), template]
    told = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  # the stack closes it
    process = stack.enter_context(ended_with_us(words, told, {**os.environ, _KEY: key}))
    deadline = time.monotonic() + _SECONDS_TO_LOAD
    while True:
        ended = process.poll() is not None or time.monotonic() > deadline
        # The process writes where this file stands, so it is read without moving in it.
        lines = os.pread(told.fileno(), os.fstat(told.fileno()).st_size, 0).decode(errors="replace").splitlines()
        if address := next((line.removeprefix(_READY) for line in lines if line.startswith(_READY)), ""):
            return LlamaCpp(file, address, key, template_fault), lines
        if ended:
            return None, lines
        time.sleep(0.1)


def _last(lines: Sequence[str]) -> str:
    told = [line for line in lines if "error" in line.lower()] or list(lines)
    return told[-1].strip()[:300] if told else "its process ended without a word"


def _words(reply: bytes) -> str:
    try:
        return str(json.loads(reply)["error"]["message"])[:300]
    except (ValueError, KeyError, TypeError):
        return reply.decode(errors="replace")[:300]


def main(file: str, num_context: str, num_threads: str, template: str = "") -> None:
    """Serve in this process until its standard input is closed.

    Args:
        template: the name of one of llama.cpp's own, in place of the file's.
    """
    xllamacpp: Any = import_module("xllamacpp")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = file
    parameters.n_ctx, parameters.n_parallel, parameters.warmup = int(num_context), 1, False
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = int(num_threads)
    parameters.n_gpu_layers, parameters.cache_ram_mib, parameters.ui = 0, 0, False
    if template:
        parameters.chat_template, parameters.use_jinja = template, False
    parameters.api_keys = [os.environ.pop(_KEY)]
    server = xllamacpp.Server(parameters)
    print(f"\n{_READY}{server.listening_address}", flush=True)
    select.select([sys.stdin], [], [])


if __name__ == "__main__":
    main(*sys.argv[1:])
