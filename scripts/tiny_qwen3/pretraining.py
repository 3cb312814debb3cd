"""Pre-training of the tiny model on warm-up text, on the processor, resumable at every checkpoint."""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.utils.data import DataLoader, IterableDataset
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from tiny_qwen3.warmup import documents


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast; lengths in tokens, the rates are AdamW's and Muon's peaks."""

    seed: int = 0
    num_steps: int = 3900
    num_warmup_steps: int = 100
    num_decay_steps: int = 500
    again_at: int = 3100
    stages_at: tuple[int, ...] = (1200, 1800, 2400, 2800, 3000, 3100, 3700)
    num_rows: int = 24
    num_turns: int = 6
    row_length: int = 288
    share_scored: float = 0.62
    learning_rate: float = 3e-3
    muon_learning_rate: float = 0.02
    weight_decay: float = 0.01
    num_threads: int = 3
    checkpoint_every: int = 200

    def stage(self, step: int) -> int:
        """The stage of the course at a step."""
        return sum(step >= start for start in self.stages_at)

    def rate(self, step: int) -> float:
        """The factor on the peak rates: warm-up, plateau, linear decay, and from half the peak a second decay."""
        if step < self.num_warmup_steps:
            return (step + 1) / self.num_warmup_steps
        if step >= self.again_at:
            return 0.5 * (self.num_steps - step) / (self.num_steps - self.again_at)
        left = self.again_at - step
        return min(1.0, 0.01 + 0.99 * left / self.num_decay_steps)


def new_model(seed: int, vocab_size: int, eos_token_id: int, pad_token_id: int) -> Qwen3ForCausalLM:
    """The architecture, about three million parameters, with random weights of the seed."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=vocab_size,
        hidden_size=192,
        num_hidden_layers=6,
        num_attention_heads=3,
        num_key_value_heads=3,
        head_dim=64,
        intermediate_size=512,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        eos_token_id=eos_token_id,
        pad_token_id=pad_token_id,
        bos_token_id=None,
        attn_implementation="eager",
    )
    return Qwen3ForCausalLM(config)


class WarmUpBatches(IterableDataset):  # type: ignore[type-arg]
    """Batches from `first` on: token ids (rows, length), scored positions, their targets and weights."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, plan: Plan, first: int) -> None:
        self.tokenizer, self.plan, self.first = tokenizer, plan, first

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        for step in range(self.first, self.plan.num_steps):
            yield self._batch(step)

    def _batch(self, step: int) -> tuple[torch.Tensor, ...]:
        plan = self.plan
        source = documents(f"warm-up {plan.seed} {step}", plan.num_turns, plan.stage(step))
        ids = torch.full((plan.num_rows, plan.row_length + 1), self.tokenizer.pad_token_id)
        weights = torch.zeros(plan.num_rows, plan.row_length + 1)
        for row in range(plan.num_rows):
            pieces = next(source)
            encoded = self.tokenizer([text for text, _ in pieces])["input_ids"]
            place = 0
            for tokens, (_, weight) in zip(encoded, pieces, strict=True):
                tokens = tokens[: plan.row_length + 1 - place]
                ids[row, place : place + len(tokens)] = torch.tensor(tokens)
                weights[row, place : place + len(tokens)] = weight
                place += len(tokens)
        inputs, targets, weights = ids[:, :-1], ids[:, 1:].reshape(-1), weights[:, 1:].reshape(-1)
        num_scored = int(plan.share_scored * targets.numel())
        order = weights.nonzero().flatten()
        if len(order) > num_scored:  # the compiled step needs one shape, so a few positions go unscored
            order = order[torch.randperm(len(order), generator=torch.Generator().manual_seed(step))[:num_scored]]
        padded = torch.zeros(num_scored, dtype=torch.long)
        padded[: len(order)] = order
        kept = weights[padded]
        kept[len(order) :] = 0
        return inputs, padded, targets[padded], kept


def optimizers(model: Qwen3ForCausalLM, plan: Plan) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for embeddings and norms."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=plan.muon_learning_rate, weight_decay=plan.weight_decay),
        torch.optim.AdamW(others, lr=plan.learning_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]


def pretrain(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, plan: Plan, work: Path) -> dict[str, float]:
    """Trains in place; returns tokens seen, seconds spent and the mean loss (nats per weighted token) of the end.

    Checkpoints go to `work`, and a run with the same plan goes on from the newest.
    """
    torch.set_num_threads(plan.num_threads)
    work.mkdir(parents=True, exist_ok=True)
    engines, state, first, seconds, recent = optimizers(model, plan), work / "state.pt", 0, 0.0, 0.0
    peaks = [engine.param_groups[0]["lr"] for engine in engines]
    if state.exists():
        saved = torch.load(state)
        if {**saved["plan"], "num_steps": 0, "num_decay_steps": 0} != {
            **asdict(plan), "num_steps": 0, "num_decay_steps": 0
        }:  # fmt: skip
            raise ValueError(f"{state} is of another plan; give another work folder")
        model.load_state_dict(saved["model"])
        for engine, old in zip(engines, saved["engines"], strict=True):
            engine.load_state_dict(old)
        first, seconds, recent = saved["step"], saved["seconds"], saved["loss"]

    def loss_of(ids: torch.Tensor, places: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
            logits = model.lm_head(hidden.reshape(-1, hidden.shape[-1])[places])
        losses = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
        return (losses * weights).sum() / weights.sum()

    compiled = torch.compile(loss_of, dynamic=False)
    loader = DataLoader(WarmUpBatches(tokenizer, plan, first), batch_size=None, num_workers=1, prefetch_factor=4)
    started, before = time.perf_counter(), seconds
    for step, batch in enumerate(loader, start=first):
        for engine, peak in zip(engines, peaks, strict=True):
            engine.param_groups[0]["lr"] = peak * plan.rate(step)
        loss = compiled(*batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for engine in engines:
            engine.step()
            engine.zero_grad(set_to_none=True)
        value = loss.item()
        if not math.isfinite(value):
            raise ValueError(f"the loss is {value} at step {step}")
        recent = value if recent == 0.0 else 0.98 * recent + 0.02 * value
        seconds = before + time.perf_counter() - started
        if (step + 1) % 25 == 0:
            print(f"step {step + 1}/{plan.num_steps}  loss {recent:.4f}  {seconds:.0f} s", flush=True)
        if (step + 1) % plan.checkpoint_every == 0 or step + 1 == plan.num_steps:
            _save(state, model, engines, plan, step + 1, seconds, recent)
    num_tokens = plan.num_steps * plan.num_rows * plan.row_length
    return {"num_tokens": num_tokens, "seconds": seconds, "loss": recent}


def _save(
    state: Path,
    model: Qwen3ForCausalLM,
    engines: list[torch.optim.Optimizer],
    plan: Plan,
    step: int,
    seconds: float,
    loss: float,
) -> None:
    partial = state.with_suffix(".partial")
    torch.save(
        {
            "model": model.state_dict(),
            "engines": [engine.state_dict() for engine in engines],
            "plan": asdict(plan),
            "step": step,
            "seconds": seconds,
            "loss": loss,
        },
        partial,
    )
    partial.replace(state)
