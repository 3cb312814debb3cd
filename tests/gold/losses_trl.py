"""Record what stock TRL computes on conversations: writes `losses.json`.

    python losses_trl.py

TRL's own trainers get conversations with tools and render, mask and batch them themselves, with one change at most:

- `as_it_is`: the template as it stands. It ends a turn with `<|im_end|>` and a newline, and TRL trains on that newline
  too, a token that is never generated, as generation ends before it.
- `closed`: the template without the newline after the last turn.

Two things must be right for stock TRL to see the conversation at all: `on_mixed_types="use_json"`, or Arrow gives every
call the arguments of all others as nulls; and a `max_length` that fits, or rows are cut or dropped.
"""

import json
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path

import datasets
import torch
from losses_rows import LOSSES, dpo_rows, loss_and_gradient, move_away, save_model, sft_rows, tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

NEWLINE = "<|im_end|>\n{% endfor %}{% if add"
# As an expression: Jinja drops a newline that follows a block.
CLOSED = "<|im_end|>{% if not loop.last or add_generation_prompt %}{{ '\\n' }}{% endif %}{% endfor %}{% if add"


def arguments(kind, folder, **options):
    return kind(
        output_dir=str(folder), per_device_train_batch_size=64, max_length=4096, use_cpu=True, bf16=False, seed=0,
        report_to=[], disable_tqdm=True, dataloader_pin_memory=False, activation_checkpointing=False, **options,
    )  # fmt: skip


def trainer_of(trainer, args, rows, folder, template):
    processing = AutoTokenizer.from_pretrained(folder)
    processing.chat_template = template
    made = trainer(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        args=args,
        train_dataset=datasets.Dataset.from_list(rows, on_mixed_types="use_json"),
        processing_class=processing,
    )
    move_away(made.model)
    return made


def main():
    torch.set_num_threads(1)
    gold = {
        "made_by": {
            "packages": {name: version(name) for name in ("trl", "transformers", "torch", "datasets")},
            "python": platform.python_version(),
        }
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_model(folder, tokenizer())
        stands = tokenizer().chat_template
        if NEWLINE not in stands:
            raise SystemExit("the toy template has changed")
        for variant, template in (("as_it_is", stands), ("closed", stands.replace(NEWLINE, CLOSED))):
            found = {
                "sft": loss_and_gradient(
                    trainer_of(SFTTrainer, arguments(SFTConfig, folder / "sft"), sft_rows(), folder, template)
                )
            }
            for loss, options in LOSSES.items():
                args = arguments(DPOConfig, folder / loss, beta=0.1, **options)
                found[loss] = loss_and_gradient(trainer_of(DPOTrainer, args, dpo_rows(), folder, template))
            gold[variant] = found
    (Path(__file__).parent / "losses.json").write_text(json.dumps(gold, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
