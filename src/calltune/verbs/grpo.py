"""`calltune grpo`: the model draws answers to its training questions, and learns from what the verifier says of them.

Group relative policy optimisation (arXiv 2402.03300) through TRL: each question is answered several times, each answer
earns what `calltune.mining.rewards` says, and those that earn more than the others of their group are made likelier.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trl.trainer.grpo_trainer import GRPOTrainer

from calltune.calling.chat import Chat
from calltune.config.run_file import Config
from calltune.data.rows import read_examples, read_preferences
from calltune.files.manifest import read_manifest
from calltune.mining.asking import choose_asked
from calltune.mining.rewards import Judge
from calltune.runtime.terminal import say
from calltune.training.recipe import Recipe
from calltune.training.stage import train_stage
from calltune.types import Example

_PAIRS_OF = {"train.jsonl": "preferences.jsonl", "validation.jsonl": "validation_preferences.jsonl"}


def row_text(chat: Chat, example: Example) -> dict[str, str]:
    """A question as TRL's prompt, and the known answer, by which it is told whether there is room for one."""
    return {
        "prompt": chat.prompt(example.prompt, example.tools),
        "completion": chat.answer(example.prompt, example.tools, example.answers[0]),
    }


def read_questions(file: Path) -> list[Example]:
    """The questions of a file of rows and of the pairs beside it, each once, as mining asks them.

    What is left out is told: rows that contradict each other, and questions whose known answer cannot be verified.
    """
    asked = choose_asked(read_examples(file), read_preferences(file.with_name(_PAIRS_OF[file.name])), None, 0)
    num_all = len(asked.questions) + len(asked.contradicting) + len(asked.problems)
    if num_all:
        say(
            f"grpo: {file.name}: {len(asked.questions):,} of {num_all:,} questions are asked; "
            f"{len(asked.contradicting):,} have contradicting answers, and of {len(asked.problems):,} the known answer "
            "cannot be verified"
        )
    return [
        Example(each.id, "grpo", (*each.sample.messages, each.gold), each.sample.tools, each.behavior)
        for each in asked.questions
    ]


def rewards(chat: Chat, ends: Sequence[int], rows: Sequence[Any]) -> list[Any]:
    """TRL's reward functions over these questions, one for each part of a reward."""
    return Judge(chat, ends, rows).functions()


RECIPE = Recipe(
    "grpo",
    GRPOTrainer,
    "data/train.jsonl",
    "data/validation.jsonl",
    read_questions,
    row_text,
    more_files=("data/preferences.jsonl", "data/validation_preferences.jsonl"),
    rewards=rewards,
)


def run(config: Config) -> Path:
    """Train the model before it (the base model where `stages` has no other) on its own answers; save it in `grpo/`.

    Returns:
        The `grpo` folder. It is left as it is when complete and unchanged, and resumed when interrupted.

    Raises:
        CalltuneError: the data, the model, the folder, `[grpo]` or `[lora]` is wrong.
    """
    before = config.trained_from("grpo")
    if before != "base":
        read_manifest(config.run_folder / before)
    return train_stage(config, RECIPE, config.checkpoint_folder(before))
