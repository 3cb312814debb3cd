"""The answers of GRPO's groups: drawn by calltune's own generation, in which a group's prompt is computed once.

`Rollouts` is TRL's `rollout_func`. Each answer has random numbers of its own, which its step, its question and its
place decide: a resumed stage draws what an undisturbed one does, whatever else was drawn. Where the run file asks for
what this generation does not know (vLLM, top-k and the like) or a model is spread over processes, TRL draws itself.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback, TrainingArguments

from calltune.calling.chat import Chat
from calltune.errors import ConfigError, NotFiniteError
from calltune.models.backends.drawing import Answer, Drawing, numbers_for
from calltune.models.backends.live import LiveModel
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


def require_sampler(arguments: Any) -> None:
    """Refuse vLLM where it is not installed.

    Raises:
        ConfigError: says how to install it.
    """
    if arguments.use_vllm and importlib.util.find_spec("vllm") is None:
        raise ConfigError("'grpo.use_vllm' needs vllm: pip install 'calltune[vllm]'")


def end_answers_with(trainer: Any, ends: Sequence[int]) -> None:
    """Let a GRPO trainer know all tokens that end an answer: the model's, and those of its template."""
    trainer.eos_token_ids = sorted({*trainer.eos_token_ids, *ends})
    if not trainer.use_vllm:
        trainer.generation_config.eos_token_id = trainer.eos_token_ids
        trainer.generation_kwargs["eos_token_id"] = trainer.eos_token_ids


@dataclass(frozen=True, slots=True)
class _Group:
    """A question's answers that this process draws: `count` of them, the first of which is the group's `start`th."""

    number: int
    text: str
    start: int
    count: int

    def numbers(self, seed: int, when: str, size: int, room: int) -> torch.Tensor:
        """The answers' random numbers, [count, room]; those of the same place in a step, whichever process draws."""
        return numbers_for(seed, [f"{when} {self.number} {self.text}"], size, room)[
            self.start : self.start + self.count
        ]


def _groups(prompts: Sequence[str], size: int) -> list[_Group]:
    """The groups of a process: TRL lays the prompts of all processes one behind another, each of them `size` times."""
    begun, groups = processes().rank * len(prompts), list[_Group]()
    for place, text in enumerate(prompts, start=begun):
        number, start = divmod(place, size)
        if groups and (groups[-1].number, groups[-1].text) == (number, text):
            groups[-1] = replace(groups[-1], count=groups[-1].count + 1)
        else:
            groups.append(_Group(number, text, start, 1))
    return groups


class Rollouts:
    """Draws answers for TRL's GRPO trainer, which calls it with its prompts and itself."""

    def __init__(self, chat: Chat, seed: int) -> None:
        """Begin with nothing known of the model.

        `shares` says whether packed rows of the model are exact, so that a group's prompt may be computed once.
        """
        self._chat, self._seed, self.shares = chat, seed, False
        self._model: LiveModel | None = None
        self._is_told = False

    def __call__(self, prompts: Sequence[str], trainer: Any) -> dict[str, Any]:
        """Draw one answer to each prompt; those of a group stand side by side, and are one prompt.

        Returns:
            What TRL asks for: `prompt_ids` and `completion_ids`, a list of tokens for each prompt, and no `logprobs`.

        Raises:
            NotFiniteError: the model's logits are no numbers.
        """
        training, room, device = trainer.model.training, trainer.max_completion_length, trainer.accelerator.device
        when, size = "validation", trainer.num_generations_eval
        if training:
            when, size = f"step {trainer.state.global_step}", trainer.num_generations
            if part := trainer._step % trainer.args.gradient_accumulation_steps:
                # A step may draw several times, and a rare question then comes more than once in it.
                when += f" part {part}"
        groups = _groups(prompts, size)
        ids: list[list[int]] = self._chat.tokenizer([group.text for group in groups]).input_ids
        answers = dict[int, list[Answer]]()
        for copies in sorted({group.count for group in groups}):
            own = [number for number, group in enumerate(groups) if group.count == copies]
            numbers = torch.cat([groups[number].numbers(self._seed, when, size, room) for number in own])
            drawing = Drawing(numbers.to(device), copies, trainer.temperature, trainer.top_p)
            found = self._live(trainer).write([ids[number] for number in own], room, drawing)
            answers.update(zip(own, found, strict=True))
        if self.shares and not self._is_told and not self._live(trainer).shares_prompts:
            say("grpo: a prompt is computed once for each of its answers: the model's attention cannot be taken apart")
        self._is_told = True
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

    def _live(self, trainer: Any) -> LiveModel:
        if self._model is None:
            inner = trainer.model.get_base_model() if isinstance(trainer.model, PeftModel) else trainer.model
            most = _TOKENS_PER_BATCH_ON_GPU if trainer.accelerator.device.type == "cuda" else _TOKENS_PER_BATCH
            precision = trainer.accelerator.autocast
            self._model = LiveModel(inner, self._chat, most, shares=self.shares, precision=precision)
        return self._model


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
