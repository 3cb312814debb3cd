"""The model that a GPU is measured with: Qwen3-1.7B's shape, random weights made on the device, and its folder.

Without a GPU it has two narrow layers, and a GPU's kernels have loops of plain torch in their place.
"""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

from calltune.models.device import leave_out_planned_attention
from calltune.models.trie import Way, pack
from calltune.models.ways import possible_ways
from calltune.training.flops import Flops, peak_by_name, peak_flops
from material.gpu_record import Skip
from material.gpu_rows import SMALL, Ids, Shapes

ROOT = Path(__file__).parents[2]
TOKENIZER = ROOT / "examples" / "tiny-qwen3"

QWEN3_17B = {
    "vocab_size": 151_936,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
}
NARROW = {
    "vocab_size": 3_072,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}


@dataclass
class Machine:
    """Where it is measured, and with what; `work` is a folder for models and runs."""

    work: Path
    is_dry: bool
    device: torch.device = field(default_factory=lambda: torch.device("cuda" if torch.cuda.is_available() else "cpu"))

    def __post_init__(self) -> None:
        if self.is_dry:
            self.device = torch.device("cpu")
            _loops_for_kernels()
        leave_out_planned_attention()

    @property
    def is_cuda(self) -> bool:
        """Whether there is a GPU to measure."""
        return self.device.type == "cuda"

    @property
    def shapes(self) -> Shapes:
        """Of the rows."""
        return SMALL if self.is_dry else Shapes()

    @property
    def ids(self) -> Ids:
        """The rows themselves."""
        return Ids(self.shapes)

    @cached_property
    def dtype(self) -> torch.dtype:
        """What weights are in when nothing is said of them."""
        return torch.bfloat16 if self.is_cuda else torch.float32

    @cached_property
    def peak(self) -> float:
        """FLOP/s of this device in bf16, or an H100's where this one's is not known."""
        return peak_flops(self.device) or peak_by_name("H100")

    @property
    def is_peak_known(self) -> bool:
        """Whether the peak is this device's own."""
        return peak_flops(self.device) is not None

    @cached_property
    def config(self) -> Qwen3Config:
        """Of the model."""
        return Qwen3Config(
            **(NARROW if self.is_dry else QWEN3_17B),
            tie_word_embeddings=True,
            max_position_embeddings=8_192,
            bos_token_id=None,
            eos_token_id=2,
            pad_token_id=0,
        )

    @cached_property
    def model(self) -> Any:
        """The one that most variants share."""
        return self.make(self.dtype)

    def forget_model(self) -> None:
        """Have the shared model made anew when it is asked for next."""
        for name in ("model", "_counter"):
            self.__dict__.pop(name, None)

    @contextlib.contextmanager
    def own_functions(self) -> Iterator[None]:
        """Put back what kernels, TRL's among them, replace in transformers' file of this kind of model."""
        home = vars(sys.modules[Qwen3ForCausalLM.__module__])
        before = dict(home)
        try:
            yield
        finally:
            home.update(before)

    def make(self, dtype: torch.dtype) -> Any:
        """A model with the weights that every other one has."""
        torch.manual_seed(0)
        with self.device:
            made: Any = AutoModelForCausalLM.from_config(self.config, dtype=self.dtype, attn_implementation="sdpa")
        for weight in made.parameters():
            # Weights alone: the rotary embedding's frequencies are float32 in every model.
            weight.data = weight.data.to(dtype)
        return made

    def ways(self) -> list[Way]:
        """The ways to attend that can be measured here."""
        if self.is_dry:
            return ["blocks", "varlen", "flex"]
        heads = self.config.head_dim
        return sorted(possible_ways(self.device, self.dtype, heads), key=["blocks", "varlen", "flex"].index)

    def need(self, way: Way) -> None:
        """Refuse a way that there is not."""
        if way not in self.ways():
            raise Skip(f"'{way}' is not there on {self.device.type} with torch {torch.__version__}")

    @cached_property
    def folder(self) -> Path:
        """The model's configuration and tokenizer; `written` has its weights too."""
        folder = self.work / "model"
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            shutil.copy(TOKENIZER / name, folder / name)
        self.config.architectures = ["Qwen3ForCausalLM"]
        self.config.save_pretrained(str(folder))
        return folder

    @cached_property
    def written(self) -> Path:
        """The same folder with weights, for what loads a model by itself."""
        self.model.save_pretrained(str(self.folder))
        return self.folder

    def flops(self, rows: list[list[int]]) -> float:
        """The useful work of a forward and a backward pass over rows: each distinct token once, in the backbone."""
        return self._counter.of(pack(rows))

    @cached_property
    def _counter(self) -> Flops:
        return Flops(self.model)

    def wait(self) -> None:
        """Until the device has done what it was asked."""
        if self.is_cuda:
            torch.cuda.synchronize(self.device)

    def facts(self) -> dict[str, Any]:
        """The device and what drives it."""
        found: dict[str, Any] = {"device": "cpu", "peak_tflops": round(self.peak / 1e12)}
        if self.is_cuda:
            found["device"] = torch.cuda.get_device_name(self.device)
            found["device_gib"] = round(torch.cuda.get_device_properties(self.device).total_memory / 2**30, 1)
            found["cuda"], found["cudnn"] = torch.version.cuda, torch.backends.cudnn.version()
            found["driver"] = asked(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"])
        return found | {"peak_is_of": "this device" if self.is_peak_known else "an H100"}


def asked(command: list[str]) -> str | None:
    """The first line that a command writes; None where there is no such command, or it fails."""
    with contextlib.suppress(OSError, subprocess.SubprocessError, IndexError):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=True)
        return done.stdout.splitlines()[0].strip()
    return None


@contextlib.contextmanager
def as_it_was(model: Any) -> Iterator[Any]:
    """Take off a model again what trainers and calltune lay over it, its gradients too."""
    try:
        yield model
    finally:
        for module in (model, model.base_model):
            for name in ("forward", "_original_forward"):
                module.__dict__.pop(name, None)
        model.set_attn_implementation("sdpa")
        model.gradient_checkpointing_disable()
        model.zero_grad(set_to_none=True)


@contextlib.contextmanager
def cudnn_attention(is_on: bool) -> Iterator[None]:
    """With SDPA's cuDNN kernels, which calltune leaves out, or without them."""
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(is_on)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


def _loops_for_kernels() -> None:
    """Put plain torch where torch has kernels of a GPU: what they compute, in no time that says anything."""
    import torch.nn.attention.flex_attention as flex
    import torch.nn.attention.varlen as varlen

    # FlexAttention without its compiler runs on a CPU, but for a check.
    flex._validate_device = lambda *heads: None  # type: ignore[assignment]
    varlen.varlen_attn = _varlen_attn  # type: ignore[assignment]


def _varlen_attn(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
) -> torch.Tensor:
    """Causal attention [tokens, heads, size], counted from the end of each sequence, as torch documents it."""
    outputs, groups = [], query.shape[1] // key.shape[1]
    queries, keys = (starts.diff().tolist() for starts in (cu_seq_q, cu_seq_k))
    for part, its_keys, its_values in zip(query.split(queries), key.split(keys), value.split(keys), strict=True):
        distance = torch.arange(len(part))[:, None] + len(its_keys) - len(part) - torch.arange(len(its_keys))
        seen = (distance >= 0) & ((distance <= window_size[0]) if window_size[0] >= 0 else True)
        heads = [each.transpose(0, 1) for each in (part, its_keys, its_values)]
        heads[1:] = (each.repeat_interleave(groups, dim=0) for each in heads[1:])
        output = torch.nn.functional.scaled_dot_product_attention(*heads, attn_mask=seen, scale=scale)
        outputs.append(output.transpose(0, 1))
    return torch.cat(outputs)
