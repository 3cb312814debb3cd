"""A GGUF file as a model: read once into an ordinary folder, which training, evaluation and export take from there.

transformers reads the weights and dequantises them. What it makes of the tokenizer is held against the file's own
metadata, as versions of it differ: 5.17 takes other tokens for the end and for padding than the file names.
"""

import hashlib
import io
import json
import shutil
import struct
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Regex, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from calltune.config.model_name import GGUF_ORIGIN
from calltune.errors import ModelError
from calltune.models.folder import one_line
from calltune.runtime.terminal import say

FOLDER = "models"
"""Of an output folder: what was read of GGUF files, each under the hash of its bytes."""

_MAGIC = b"GGUF"
_PLAIN = {"F32", "F16", "BF16"}
_SPECIAL = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}

# llama.cpp's rules of `tokenizer.ggml.pre` that cut every digit off before GPT-2's rule; transformers 5.23 has none.
_DIGITS_APART = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}
_GPT2_RULE = {"default", "gpt-2", "gpt2", "mpt", "olmo", "jais", "phi-2"}
# What readers of a damaged file and of an unknown model raise: numpy, struct, the package gguf, transformers, torch.
_FAILURES = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError),
    *(RuntimeError, ImportError, OSError, MemoryError, EOFError, struct.error),
)
_PROOFS = (
    "Book table 12 for 2 at 19:30,  please.\n\tThanks!",
    '{"name": "get_weather", "arguments": {"city": "Zürich", "days": [1, 23, 456], "metric": true}}',
    "naïve café — 東京 🙂 don't I'LL we've  x=3.14\r\n\n\n",
)


def read_gguf(file: Path, output: Path) -> Path:
    """Return the folder of a GGUF file's model; the file is read and the folder made if it is not there yet.

    Args:
        output: the folder of runs, in which `models/<sha256>/` is made.

    Raises:
        ModelError: the file is none, is cut off, is of a kind that transformers does not read, or the package `gguf` is
            missing; or the tokenizer that was read is not the file's.
        OSError: the folder cannot be written.
    """
    sha256 = _sha256(file)
    folder = output / FOLDER / sha256
    if (folder / GGUF_ORIGIN).is_file():
        return folder
    if find_spec("gguf") is None:
        raise ModelError(f"model '{file}': needs the package 'gguf': pip install 'calltune[gguf]'")
    metadata, kinds = _metadata(file)
    with _place_in(output) as place:
        made = place / "model"
        say(f"model '{file}': {_told(kinds)}, into {folder}")
        _convert(file, metadata, kinds, made)
        origin = {"file": file.name, "sha256": sha256, "name": str(metadata.get("general.name", ""))}
        (made / GGUF_ORIGIN).write_text(json.dumps(origin, indent=2, allow_nan=False), encoding="utf-8")
        # A run beside this one may have read the same file meanwhile, and be at work with it.
        if not (folder / GGUF_ORIGIN).is_file():
            shutil.rmtree(folder, ignore_errors=True)
            made.rename(folder)
    return folder


@contextmanager
def _place_in(output: Path) -> Iterator[Path]:
    """A folder to write in, which is gone at the end; so are, where they hold nothing, the folders that it lay in."""
    parent = output / FOLDER
    made = [each for each in (parent, output) if not each.exists()]
    parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".reading-", dir=parent) as place:
            yield Path(place)
    finally:
        with suppress(OSError):
            for each in made:
                each.rmdir()


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            if opened.read(len(_MAGIC)) != _MAGIC:
                raise ModelError(f"model '{file}': is no GGUF file")
            opened.seek(0)
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"model '{file}': {error.strerror}") from None


def _metadata(file: Path) -> tuple[dict[str, Any], Counter[str]]:
    """What the file says of its model, arrays that are long left out, and how many tensors it has of each type."""
    from gguf import GGUFReader

    try:
        reader = GGUFReader(file)
        metadata = {name: field.contents() for name, field in reader.fields.items()}
        kinds = Counter(tensor.tensor_type.name for tensor in reader.tensors)
        names = {tensor.name for tensor in reader.tensors}
    except _FAILURES as error:
        # Of a file that is cut off or damaged numpy, struct and the reader each say so in words of their own.
        raise ModelError(f"model '{file}': is cut off or damaged; copy it again ({one_line(error)})") from error
    if (kind := metadata.get("general.type", "model")) != "model":
        raise ModelError(f"model '{file}': holds a part of type '{kind}', not a model")
    if metadata.get("split.count", 1) not in (0, 1):
        raise ModelError(f"model '{file}': is one of {metadata['split.count']} parts; join them with llama-gguf-split")
    if "rope_freqs.weight" in names:
        raise ModelError(
            f"model '{file}': its rotary embedding is scaled (rope_freqs), which transformers does not read from GGUF; "
            "use the model's folder of safetensors"
        )
    return metadata, kinds


def _told(kinds: Mapping[str, int]) -> str:
    """Which tensors are dequantised, in words."""
    packed = {kind: number for kind, number in kinds.items() if kind not in _PLAIN}
    if not packed:
        return f"{sum(kinds.values())} tensors are read as they are"
    each = ", ".join(f"{number} of {kind}" for kind, number in sorted(packed.items()))
    return f"{sum(packed.values())} of {sum(kinds.values())} tensors are dequantised to float32 ({each})"


def _convert(file: Path, metadata: Mapping[str, Any], kinds: Mapping[str, int], folder: Path) -> None:
    """Write the folder: safetensors, tokenizer, settings of generation."""
    place, name = str(file.parent), file.name
    # Numbers that were packed are no numbers of bf16.
    dtype = torch.bfloat16 if set(kinds) == {"BF16"} else torch.float32
    transformers.utils.logging.disable_progress_bar()
    try:
        tokenizer = _tokenizer(
            AutoTokenizer.from_pretrained(place, gguf_file=name, trust_remote_code=False), file, metadata
        )
        config: Any = AutoConfig.from_pretrained(place, gguf_file=name, trust_remote_code=False)
        # transformers 5.23 leaves it out for some architectures, and takes their usual size.
        if size := metadata.get(f"{metadata['general.architecture']}.attention.key_length"):
            config.head_dim = size
        # Its bar is over within seconds; what goes wrong is raised.
        with redirect_stderr(io.StringIO()):
            read: Any = AutoModelForCausalLM.from_pretrained(
                place, gguf_file=name, config=config, dtype=dtype, trust_remote_code=False
            )
        model = _free(read)
    except ModelError:
        raise
    except _FAILURES as error:
        raise ModelError(f"model '{file}': transformers does not read it: {one_line(error)}") from error
    ids = {name: metadata.get(f"tokenizer.ggml.{key}_token_id") for name, key in _SPECIAL.items()}
    for name in ("bos", "eos", "pad"):
        setattr(model.config, f"{name}_token_id", ids[name])
    model.generation_config = GenerationConfig(
        do_sample=False, bos_token_id=ids["bos"], eos_token_id=ids["eos"], pad_token_id=ids["pad"]
    )
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    _prove(AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False), file, metadata)


def _free(model: PreTrainedModel) -> PreTrainedModel:
    """The same weights in a model that does not know of GGUF, as transformers saves none that does."""
    config = type(model.config).from_dict(
        {key: value for key, value in model.config.to_dict().items() if key != "quantization_config"}
    )
    with torch.device("meta"):
        made: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=model.dtype, trust_remote_code=False)
    made.load_state_dict(model.state_dict(), assign=True)
    made.tie_weights()
    return made


def _tokenizer(read: Any, file: Path, metadata: Mapping[str, Any]) -> PreTrainedTokenizerFast:
    """The tokenizer that transformers read, with what the file's metadata say of it.

    It is one of no model's own class, since those put a way of splitting text of their own in place of the file's.

    Raises:
        ModelError: the file splits text by a rule that is not known here.
    """
    tokens, backend = metadata["tokenizer.ggml.tokens"], read.backend_tokenizer
    rule = metadata.get("tokenizer.ggml.pre", "default")
    if metadata.get("tokenizer.ggml.model") == "gpt2":
        plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        digits = pre_tokenizers.Split(Regex(r"\p{N}"), behavior="isolated")
        if rule in _GPT2_RULE:
            backend.pre_tokenizer = plain
        elif rule in _DIGITS_APART:
            backend.pre_tokenizer = pre_tokenizers.Sequence([digits, plain])
        elif isinstance(backend.pre_tokenizer, pre_tokenizers.ByteLevel):
            # transformers has left it at GPT-2's, by which numbers and spaces would become other tokens.
            raise ModelError(f"model '{file}': its tokenizer splits text by the rule '{rule}', which is not known here")
    named = {name: metadata.get(f"tokenizer.ggml.{key}_token_id") for name, key in _SPECIAL.items()}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        chat_template=metadata.get("tokenizer.chat_template") or None,
        clean_up_tokenization_spaces=False,
        **{f"{name}_token": None if number is None else tokens[number] for name, number in named.items()},
    )


def _prove(tokenizer: Any, file: Path, metadata: Mapping[str, Any]) -> None:
    """Hold the tokenizer, loaded as a user would, against the file: the same tokens, ends, and text that comes back.

    Raises:
        ModelError: it is another one.
    """
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata.get("tokenizer.ggml.token_type") or []
    problem = ""
    for name, key in _SPECIAL.items():
        number = metadata.get(f"tokenizer.ggml.{key}_token_id")
        if number is not None and getattr(tokenizer, f"{name}_token_id") != number:
            problem = f"its {name} token is {getattr(tokenizer, f'{name}_token_id')}, not {number}"
    # Types 3 and 4 are control tokens and those that users added; a text may hold both whole.
    for number, (token, kind) in enumerate(zip(tokens, types, strict=False)):
        if kind in (3, 4) and tokenizer(token, add_special_tokens=False).input_ids != [number]:
            problem = f"the token {token!r} is not read as token {number}"
    for text in _PROOFS:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        written = tokenizer.decode(ids)
        if written != text or tokenizer(written, add_special_tokens=False).input_ids != ids:
            problem = f"{text!r} comes back as {written!r}"
    if problem:
        raise ModelError(f"model '{file}': the tokenizer that was read is not the file's: {problem}")
