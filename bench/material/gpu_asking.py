"""What is measured without a trainer: matrices, kernels, four-choice questions, and answers that are written."""

import re
import time
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from transformers import GenerationConfig

from calltune.models.backends.hf import Backend
from calltune.models.kernel_check import kernel_fault
from calltune.models.prefix import backbone_outputs, shared_attention
from calltune.models.trie import Way, batches, pack, places
from calltune.models.ways import attend_by
from calltune.types import Example, Sample
from material import gpu_rows
from material.gpu_model import Machine
from material.gpu_record import roofline
from material.gpu_trainers import give_back

QUESTIONS = 151
_TOKENS_PER_BATCH = 16_384
_LOGITS = 2**28  # of one piece of the head: 1 GiB


def matmul(machine: Machine) -> dict[str, Any]:
    """What the device reaches on square matrices in bf16, without anything around them."""
    size, times = (256, 3) if machine.is_dry else (8_192, 20)
    left, right = (torch.randn(size, size, device=machine.device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        left @ right
    machine.wait()
    begun = time.perf_counter()
    for _ in range(times):
        left @ right
    machine.wait()
    seconds = (time.perf_counter() - begun) / times
    flops = 2 * size**3
    return {
        "seconds": float(f"{seconds:.4g}"),
        "tflops": float(f"{flops / seconds / 1e12:.4g}"),
        **roofline(flops, machine.peak, seconds, machine.is_peak_known),
        "size": size,
    }


def kernel_check(machine: Machine, way: Way) -> dict[str, Any]:
    """Whether one attention call in this way is right, forward and backward, and how long the first one takes."""
    machine.need(way)
    config = machine.config
    heads = (config.num_attention_heads, config.num_key_value_heads, config.head_dim)
    begun = time.perf_counter()
    fault = kernel_fault(attend_by(way), heads, None, machine.dtype, machine.device)
    machine.wait()
    found = {"seconds": round(time.perf_counter() - begun, 3), "fault": fault}
    return {**found, "note": "right" if fault is None else f"wrong: {fault}"}


@torch.inference_mode()
def multiple_choice(machine: Machine, way: Way, number: int, profiler: Any = None) -> dict[str, Any]:
    """Log-probabilities of four answers to each question, the second time that they are asked; packing included.

    Args:
        profiler: sees a third time, which is not counted.
    """
    machine.need(way)
    model = machine.model.eval()
    pairs = machine.ids.questions(number)
    # A row's last token is predicted, and predicts nothing.
    rows = [prompt + answer[:-1] for prompt, answer in pairs]
    passes, sums, seconds = 0, 0.0, 0.0

    def ask() -> None:
        nonlocal passes, sums, seconds
        machine.wait()
        begun, passes, sums = time.perf_counter(), 0, 0.0
        for batch in batches(rows, _TOKENS_PER_BATCH):
            asked = [pairs[number] for number in batch]
            sums += _logprobs(machine, way, [rows[number] for number in batch], asked)
            passes += 1
        machine.wait()
        seconds = time.perf_counter() - begun

    try:
        with shared_attention(model):
            ask()
            ask()
            counted = seconds
            if profiler is not None:
                with profiler:
                    ask()
    finally:
        model.train()
    seconds = counted
    begun = time.perf_counter()
    for batch in batches(rows, _TOKENS_PER_BATCH):
        pack([rows[number] for number in batch])
    on_host = time.perf_counter() - begun
    work = sum(machine.flops([rows[number] for number in batch]) for batch in batches(rows, _TOKENS_PER_BATCH)) / 3
    return {
        "seconds": round(seconds, 4),
        "questions": number,
        "rows_per_second": round(number / seconds, 2),
        "passes": passes,
        "seconds_of_packing": round(on_host, 4),
        **roofline(work, machine.peak, seconds, machine.is_peak_known),
        "losses": [-sums / len(pairs)],
        "batches": f"four choices {number}",
    }


def _logprobs(machine: Machine, way: Way, rows: list[list[int]], asked: list[tuple[list[int], list[int]]]) -> float:
    """The sum over all answers of their log-probabilities."""
    packed = replace(pack(rows, machine.device), way=way)
    before = [
        places(path, len(prompt) - 1, len(row))
        for path, row, (prompt, _) in zip(packed.paths, rows, asked, strict=True)
    ]
    targets = torch.tensor(list(chain.from_iterable(answer for _, answer in asked)), device=machine.device)
    states = backbone_outputs(machine.model, packed).last_hidden_state[0]
    states = states[torch.tensor(list(chain.from_iterable(before)), device=machine.device)]
    total, step = torch.zeros((), device=machine.device), max(1, _LOGITS // machine.config.vocab_size)
    for start in range(0, len(targets), step):
        logits = machine.model.lm_head(states[start : start + step]).float()
        total += logits.log_softmax(-1).gather(1, targets[start : start + step, None]).sum()
    return float(total)


def generation(machine: Machine, number: int, new_tokens: int) -> dict[str, Any]:
    """Greedy answers to prompts that begin with the same tools: calltune's backend, and transformers' `generate`."""
    settings = gpu_rows.Settings(num_examples=number, num_pairs=0, num_questions=0)
    samples = [
        Sample(row.id, "bench", row.prompt, row.tools, target="")
        for row in gpu_rows.read(settings)
        if isinstance(row, Example)
    ]
    backend = Backend(str(machine.written), tokens_per_batch=_TOKENS_PER_BATCH)
    prompts = [backend.chat.prompt(sample.messages, sample.tools) for sample in samples]
    model, tokenizer = machine.model.eval(), backend.chat.tokenizer
    ids = tokenizer(prompts).input_ids
    try:
        # The first call of each is slow, and ours tries continuous batching once, where there are enough questions.
        begun = time.perf_counter()
        backend.answer(samples, 2)
        machine.wait()
        first_seconds = time.perf_counter() - begun
        _generated(machine, model, ids[:2], 2)
        machine.wait()
        begun = time.perf_counter()
        answers = backend.answer(samples, new_tokens)
        machine.wait()
        middle = time.perf_counter()
        plain = _generated(machine, model, ids, new_tokens)
        machine.wait()
    finally:
        model.train()
    seconds, plain_seconds = middle - begun, time.perf_counter() - middle
    texts = [tokenizer.decode(written, skip_special_tokens=False) for written in plain]
    same = sum(text.startswith(answer.text) for text, answer in zip(texts, answers, strict=True))
    del backend
    give_back()
    return {
        "seconds": round(seconds, 4),
        "plain_seconds": round(plain_seconds, 4),
        "first_seconds": round(first_seconds, 4),
        "ratio": round(plain_seconds / seconds, 3),
        "rows_per_second": round(number / seconds, 2),
        "prompts": number,
        "new_tokens": new_tokens,
        "prompt_tokens": sum(map(len, ids)),
        "answers_that_begin_alike": same,
        "note": f"transformers' generate in one batch: {plain_seconds:.3g} s",
    }


@torch.inference_mode()
def _generated(machine: Machine, model: Any, prompts: list[list[int]], new_tokens: int) -> list[list[int]]:
    width, pad = max(map(len, prompts)), machine.config.pad_token_id
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in prompts], device=machine.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts], device=machine.device)
    how = GenerationConfig(do_sample=False, pad_token_id=pad, eos_token_id=machine.config.eos_token_id)
    written = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=new_tokens, generation_config=how)
    return written[:, width:].tolist()


_GEMM = re.compile(r"gemm|nvjet|::mm|addmm|::bmm|cublas", re.IGNORECASE)
_ATTENTION = re.compile(r"flash|fmha|sdpa|attention|cudnn_generated", re.IGNORECASE)
_GATHERING = re.compile(r"index|gather|scatter", re.IGNORECASE)
_FUSED = re.compile(r"rms_norm|rope|silu|swiglu", re.IGNORECASE)


def profiler(machine: Machine) -> Any:
    """A profiler of what is measured here."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if machine.is_cuda:
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    return torch.profiler.profile(activities=kinds)


def profiled(machine: Machine, profile: Any) -> dict[str, Any]:
    """Where the time of a step went: the largest kernels, and what should not be among them."""
    spent: dict[str, float] = {}
    copies = 0
    for event in profile.key_averages():
        # A range that somebody named, such as an optimiser's step, holds kernels that are counted themselves.
        is_other = event.device_type != torch.autograd.DeviceType.CUDA or getattr(event, "is_user_annotation", False)
        if machine.is_cuda and is_other:
            continue
        # The name changed with torch 2.4; on a CPU it is the operators' own time.
        names = ("self_device_time_total", "self_cuda_time_total") if machine.is_cuda else ("self_cpu_time_total",)
        spent[event.key] = spent.get(event.key, 0.0) + next(getattr(event, n) for n in names if hasattr(event, n))
        copies += event.count if "memcpy htod" in event.key.lower() else 0
    total = sum(spent.values()) or 1.0
    largest = sorted(spent.items(), key=lambda pair: -pair[1])[:12]

    def share(kind: re.Pattern[str], but: re.Pattern[str] | None = None) -> float:
        its = [us for name, us in spent.items() if kind.search(name) and not (but and but.search(name))]
        return round(sum(its) / total, 4)

    return {
        "kernels_ms": round(total / 1e3, 3),
        "share_of_gemm": share(_GEMM, _ATTENTION),
        "share_of_attention": share(_ATTENTION),
        "share_of_gathering": share(_GATHERING, _ATTENTION),
        "share_of_fused": share(_FUSED),
        "cudnn_generated": any("cudnn_generated" in name for name in spent),
        "copies_to_device": copies,
        "largest": [{"name": name[:120], "share": round(us / total, 4)} for name, us in largest],
    }
