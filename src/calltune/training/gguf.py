"""An exported model as GGUF files and an Ollama `Modelfile`, each proved before it is kept."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from calltune.calling.chat import Chat
from calltune.errors import ModelError
from calltune.models.backends.tokens import end_ids
from calltune.models.gguf_writing import require_space, write_gguf
from calltune.models.llama_cpp import loaded
from calltune.models.load import load_model, load_tokenizer
from calltune.runtime.terminal import say
from calltune.training.gguf_ollama import write_modelfile
from calltune.training.gguf_proof import (
    NEW_TOKENS,
    Asked,
    Paired,
    Same,
    ask_all,
    pair,
    require_same_answers,
    require_same_prompts,
    require_same_tokens,
)

NUM_PROMPTS = 200
"""Of the run's own prompts, these are held against llama.cpp's tokens and template."""

NUM_ANSWERS = 24
"""Of the questions, these are answered by the model itself, too."""

_LEAST_CONTEXT = 4096


@dataclass(frozen=True, slots=True)
class GgufFacts:
    """What was found of the files; `pairs` is by format, "ollama" being f16 with prompts as Ollama writes them.

    `template_fault` says why llama.cpp's server cannot use the chat template in the files, `modelfile_fault` why there
    is no `Modelfile`; both may be empty.
    """

    num_prompts: int
    same: Same
    pairs: Mapping[str, Paired]
    notes: Mapping[str, str]
    template_fault: str
    modelfile_fault: str


def build_ggufs(
    folder: Path, name: str, formats: Sequence[str], prompts: Sequence[Asked], num_questions: int, built: Path
) -> GgufFacts:
    """Write GGUF files of the model in a folder into another folder, and prove each of them.

    Args:
        folder: of the exported model.
        name: the files' names begin with it.
        formats: of `f16`, `q8_0`, `q4_k_m`.
        prompts: of the run's own questions, of which the first are asked.
        num_questions: how many are asked.
        built: is there already, and is removed by the caller when anything is raised.

    Raises:
        ModelError: a file is not the model.
        RunFolderError: the disk has no room for them.
    """
    require_space(folder, formats, built)
    chat = Chat(load_tokenizer(str(folder)), str(folder))
    texts = [asked.prompt(chat) for asked in prompts]
    questions = prompts[:num_questions]
    ids = [chat.tokenizer(text).input_ids for text in texts[:num_questions]]
    longest = max(len(chat.tokenizer(text).input_ids) for text in texts) + NEW_TOKENS
    context = min(max(_LEAST_CONTEXT, 1 << (longest - 1).bit_length()), _most_context(folder))
    f16 = built / f"{name}-f16.gguf"
    notes, pairs = {"f16": write_gguf(folder, f16, f16, "f16")}, dict[str, Paired]()
    with loaded(f16, context) as file:
        template_fault = file.template_fault
        require_same_tokens(chat, file, texts)
        if not file.template_fault:
            require_same_prompts(chat, file, prompts)
        else:
            say(f"gguf: llama.cpp's server cannot use the model's chat template: {file.template_fault}")
        model: Any = load_model(str(folder), torch.float32)
        model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        same = require_same_answers(model, chat, file, questions[:NUM_ANSWERS])
        ends = end_ids(model.generation_config, chat)
        del model
        say(f"gguf: tokens of {len(texts)} prompts are the model's; {same.sentence()}")
        reference = ask_all(chat, file, ends, questions, ids, "f16")
        pairs["f16"] = pair(questions, reference, reference)
        weights, modelfile_fault = [f"{name}-{kind}.gguf" for kind in formats], ""
        try:
            pairs["ollama"] = write_modelfile(chat, file, ends, weights, prompts, reference, context, built)
            say(f"gguf: f16 with prompts as Ollama writes them {pairs['ollama'].sentence()}")
        except ModelError as error:
            modelfile_fault = str(error)
            say(f"gguf: no Modelfile for Ollama: {modelfile_fault}")
    for kind in formats:
        if kind == "f16":
            continue
        path = built / f"{name}-{kind}.gguf"
        notes[kind] = write_gguf(folder, f16, path, kind)
        with loaded(path, context) as file:
            require_same_tokens(chat, file, texts)
            pairs[kind] = pair(questions, reference, ask_all(chat, file, ends, questions, ids, kind))
        _require_no_worse(kind, pairs[kind])
    if "f16" not in formats:
        f16.unlink()
    return GgufFacts(len(texts), same, pairs, notes, template_fault, modelfile_fault)


def _most_context(folder: Path) -> int:
    """The longest text that the model knows, in tokens, where its configuration says so."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config.get("max_position_embeddings") or sys.maxsize


def _require_no_worse(kind: str, found: Paired) -> None:
    if found.is_worse:
        raise ModelError(
            f"export.gguf: {kind}: {found.sentence()}: more is lost than chance explains, so there is no such file; "
            f"take '{kind}' out of export.gguf"
        )
    say(f"gguf: {kind} {found.sentence()}")
