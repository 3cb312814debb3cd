"""`calltune sft`: supervised fine-tuning on `data/train.jsonl`, the loss on the answers alone, through TRL."""

from pathlib import Path

from trl.trainer.sft_trainer import SFTTrainer

from calltune.calling.chat import Chat
from calltune.config.run_file import Config
from calltune.data.rows import read_examples
from calltune.training.recipe import Recipe
from calltune.training.stage import train_stage
from calltune.types import Example


def row_text(chat: Chat, example: Example) -> dict[str, str]:
    """An example as TRL's prompt and completion: tools in the prompt, once, and the last message as the answer."""
    return {
        "prompt": chat.prompt(example.prompt, example.tools),
        "completion": chat.answer(example.prompt, example.tools, example.answers[0]),
    }


RECIPE = Recipe("sft", SFTTrainer, "data/train.jsonl", "data/validation.jsonl", read_examples, row_text)


def run(config: Config) -> Path:
    """Train the base model on the examples and save it, whole, in `sft/`.

    Returns:
        The `sft` folder. It is left as it is when complete and unchanged, and resumed when interrupted.

    Raises:
        CalltuneError: the data, the model, the folder, `[sft]` or `[lora]` is wrong.
    """
    return train_stage(config, RECIPE, config.model)
