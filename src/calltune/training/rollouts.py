"""The answers of GRPO's groups: drawn by calltune's own generation, in which a group's prompt is computed once.

`Rollouts` is TRL's `rollout_func`. Each answer has random numbers of its own, which its step, its question and its
place decide: a resumed stage draws what an undisturbed one does, whatever else was drawn. Where the run file asks for
what this generation does not know (vLLM, top-k and the like) or a model is spread over processes, TRL draws itself.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import GenerationConfig, TrainerCallback, TrainingArguments

from calltune.calling.chat import Chat
from calltune.errors import NotFiniteError
from calltune.models.backends.drawing import Answer, Drawing, numbers_for
from calltune.models.backends.generation import Generator, segment_fault
from calltune.models.backends.plain import PlainGenerator
from calltune.models.exactness import can_share
from calltune.models.layer_kinds import is_hybrid
from calltune.runtime.processes import processes
from calltune.runtime.terminal import say
from calltune.training.arguments import is_spread

_TOKENS_PER_BATCH = 16_384
_TOKENS_PER_BATCH_ON_GPU = 65_536


def reason_for_trl(arguments: Any) -> str | None:
    """Why TRL draws the answers itself; None where calltune does."""
    others = ("top_k", "min_p", "generation_kwargs", "cache_implementation")
    if arguments.use_vllm:
        return "grpo.use_vllm is true"
    if arguments.use_transformers_continuous_batching:
        return "grpo.use_transformers_continuous_batching is true"
    if named := [name for name in others if getattr(arguments, name)]:
        return f"grpo.{named[0]} is set"
    if arguments.repetition_penalty != 1.0:
        return "grpo.repetition_penalty is set"
    return "the model is spread over processes" if is_spread(arguments) else None


class Rollouts:
    """Draws answers for TRL's GRPO trainer, which calls it with its prompts and itself."""

    def __init__(self, chat: Chat, ends: Collection[int], seed: int) -> None:
        """Begin with nothing known of the model.

        Args:
            ends: token ids that end an answer.
        """
        self._chat, self._ends, self._seed = chat, frozenset(ends), seed
        self._shares: bool | None = None

    def __call__(self, prompts: Sequence[str], trainer: Any) -> dict[str, Any]:
        """Draw one answer to each prompt; those of a group stand side by side, and are one prompt.

        Returns:
            What TRL asks for: `prompt_ids` and `completion_ids`, a list of tokens for each prompt, and no `logprobs`.

        Raises:
            NotFiniteError: the model's logits are no numbers.
        """
        groups = [(text, len(list(same))) for text, same in groupby(prompts)]
        ids: list[list[int]] = self._chat.tokenizer([text for text, _ in groups]).input_ids
        when = f"step {trainer.state.global_step}" if trainer.model.training else "validation"
        names = [f"{when} {processes().rank} {number} {text}" for number, (text, _) in enumerate(groups)]
        room, answers = trainer.max_completion_length, dict[int, list[Answer]]()
        with self._asking(trainer) as (generator, device):
            for copies in sorted({count for _, count in groups}):
                own = [number for number, (_, count) in enumerate(groups) if count == copies]
                drawn = numbers_for(self._seed, [names[number] for number in own], copies, room)
                drawing = Drawing(drawn.to(device), copies, trainer.temperature, trainer.top_p)
                found = generator.answers([ids[number] for number in own], room, drawing)
                answers.update(zip(own, found, strict=True))
        if not all(answer.is_finite for own in answers.values() for answer in own):
            raise NotFiniteError(
                f"grpo: step {trainer.state.global_step + 1}: an answer was drawn from logits that are not finite; "
                "look at learning_rate and at the weights before this stage"
            )
        everything = [(ids[number], answer.tokens) for number in range(len(groups)) for answer in answers[number]]
        return {
            "prompt_ids": [list(prompt) for prompt, _ in everything],
            "completion_ids": [tokens for _, tokens in everything],
            "logprobs": None,
        }

    @contextmanager
    def _asking(self, trainer: Any) -> Iterator[tuple[Any, torch.device]]:
        """The trainer's own model, as one that is asked; the trainer finds it as it was."""
        model: Any = trainer.model.get_base_model() if isinstance(trainer.model, PeftModel) else trainer.model
        pad, was_training, configured = trainer.processing_class.pad_token_id, model.training, model.generation_config
        trainer.model.eval()
        # Of the model's own settings only the ends are kept: what is drawn is what `[grpo]` says.
        model.generation_config = GenerationConfig(
            do_sample=False, pad_token_id=pad, eos_token_id=sorted(self._ends), use_cache=True
        )
        try:
            with torch.no_grad():
                if self._shares is None:
                    self._shares = self._may_share(model)
                kind = Generator if self._shares else PlainGenerator
                most = _TOKENS_PER_BATCH_ON_GPU if model.device.type == "cuda" else _TOKENS_PER_BATCH
                # A new one for each batch: what another one keeps was computed with other weights.
                with trainer.accelerator.autocast():
                    yield kind(model, self._ends, pad, most), model.device
        finally:
            model.generation_config = configured
            trainer.model.train(was_training)

    def _may_share(self, model: Any) -> bool:
        reason = "its layers keep a state" if is_hybrid(model) else can_share(model) or segment_fault(model)
        if reason:
            say(f"grpo: answers are drawn by transformers' generate: {reason}")
        return reason is None


class KeepRollouts(TrainerCallback):
    """Keeps the answers that are still to be learned from with each checkpoint, so that a resumed stage has them.

    Where answers are used for more than one optimiser step (`num_iterations`, `steps_per_generation`), a checkpoint
    may stand between two uses; elsewhere there is nothing to keep.
    """

    def __init__(self, trainer: Any, begun_from: Path | None) -> None:
        """Take up what a checkpoint brings.

        Args:
            trainer: TRL's GRPO trainer, not begun yet.
        """
        self._trainer = trainer
        file = begun_from and begun_from / self._name
        if file and file.is_file():
            device = trainer.accelerator.device
            found = load_file(file, device=str(device))
            trainer._step = int(found.pop("step"))
            parts: list[dict[str, Any]] = [{} for _ in range(trainer.args.steps_per_generation)]
            for key, values in found.items():
                number, _, name = key.partition(" ")
                parts[int(number)][name] = values
            trainer._buffered_inputs = parts

    @property
    def _name(self) -> str:
        return f"rollouts-{processes().rank}.safetensors"

    def on_save(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Write them beside what transformers has written, before the checkpoint is sealed."""
        asked: Any = args
        step, parts = self._trainer._step, self._trainer._buffered_inputs
        if parts is None or step % (asked.steps_per_generation * asked.num_iterations) == 0:
            return
        kept = {
            f"{number} {name}": values.detach().cpu().contiguous().clone()
            for number, part in enumerate(parts)
            for name, values in part.items()
            if values is not None
        }
        kept["step"] = torch.tensor(step)
        save_file(kept, Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / self._name)
