"""`calltune dpo`: preference optimisation of the SFT model on `data/preferences.jsonl` or what was mined, through TRL.

Direct preference optimisation (arXiv 2305.18290); `[dpo] loss_type` may be a list with `loss_weights`, such as the
mixed MPO of arXiv 2411.10442: `["sigmoid", "bco_pair", "sft"]` with `[0.8, 0.2, 1.0]`.
"""

from dataclasses import replace
from pathlib import Path

from trl.trainer.dpo_trainer import DPOTrainer

from calltune.calling.chat import Chat
from calltune.config.run_file import Config
from calltune.config.stages import of_round
from calltune.data.rows import read_preferences
from calltune.files.manifest import read_manifest
from calltune.training.recipe import Recipe
from calltune.training.stage import train_stage
from calltune.types import Preference


def row_text(chat: Chat, preference: Preference) -> dict[str, str]:
    """A preference as TRL's prompt, chosen and rejected: tools in the prompt, once."""
    prompt, tools = preference.prompt, preference.tools
    return {
        "prompt": chat.prompt(prompt, tools),
        "chosen": chat.answer(prompt, tools, preference.chosen),
        "rejected": chat.answer(prompt, tools, preference.rejected),
    }


RECIPE = Recipe(
    "dpo", DPOTrainer, "data/preferences.jsonl", "data/validation_preferences.jsonl", read_preferences, row_text
)


def run(config: Config, round_number: int = 1) -> Path:
    """Train the SFT model (the base model when `stages` has no SFT) on the pairs and save it, whole, in `dpo/`.

    Args:
        round_number: the round of mining; a later one trains what the one before it made, into `dpo-2/` and so on.

    Returns:
        The `dpo` folder. It is left as it is when complete and unchanged, and resumed when interrupted.

    Raises:
        CalltuneError: the data, the model, the folder, `[dpo]` or `[lora]` is wrong.
    """
    recipe, before = replace(RECIPE, round=round_number), config.trained_from(of_round("dpo", round_number))
    if before != "base":
        read_manifest(config.run_folder / before)
    if config.mine:
        mined = of_round("mined", round_number)
        read_manifest(config.run_folder / mined)
        recipe = replace(recipe, train_file=f"{mined}/pairs.jsonl")
    return train_stage(config, recipe, config.checkpoint_folder(before))
