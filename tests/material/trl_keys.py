"""The keys of TRL's and PEFT's classes, as `config/trl_keys.json` holds them; run as a script it writes that file."""

import inspect
import json
import re
from importlib import metadata
from typing import Any

from calltune.config.stage_keys import KEYS_FILE


def real_keys() -> dict[str, Any]:
    """The keys of the installed classes, the losses that the trainers compute, and of which versions they are."""
    from peft import LoraConfig
    from trl.trainer import dpo_trainer, grpo_trainer
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.sft_config import SFTConfig

    from calltune.training.arguments import kinds_of

    versions = {package: metadata.version(package) for package in ("trl", "transformers", "peft")}
    classes = {"sft": SFTConfig, "dpo": DPOConfig, "grpo": GRPOConfig, "lora": LoraConfig}
    losses = {*re.findall(r'if loss_type == "(\w+)"', inspect.getsource(dpo_trainer))}
    keys = {name: kinds_of(kind) for name, kind in classes.items()}
    chosen = re.findall(r"self\.loss_type (?:==|in) (\[[^]]*\]|\"\w+\")", inspect.getsource(grpo_trainer))
    drawn = {loss for part in chosen for loss in re.findall(r'"(\w+)"', part)}
    return {"versions": versions, "keys": keys, "losses": sorted(losses), "grpo_losses": sorted(drawn)}


if __name__ == "__main__":
    KEYS_FILE.write_text(json.dumps(real_keys(), indent=1, sort_keys=True) + "\n")
