"""From nothing to the folder: vocabulary, warm-up, bfloat16 file, card."""

import json
import platform
from dataclasses import replace
from pathlib import Path

import tokenizers
import torch
import transformers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3ForCausalLM

from tiny_qwen3.pretraining import Plan, new_model, pretrain
from tiny_qwen3.vocabulary import train_tokenizer
from tiny_qwen3.warmup import DECIDING_WEIGHT, USER_WEIGHT

VOCAB_SIZE = 3072

CARD = """---
library_name: transformers
pipeline_tag: text-generation
license: apache-2.0
language: en
tags: [tool-calling, demonstration]
---

# tiny-qwen3

A base model small enough to commit: Qwen3 architecture, {parameters:,} parameters, its own byte-level BPE of
{vocab:,} tokens, bfloat16. It exists so that `make demo` can show the whole of calltune on a laptop, without a
download. **It shows the machinery; it is no usable agent, and knows no language beyond the sentences it was made of.**

## Made by

    python scripts/make_tiny_qwen3.py

| | |
|---|---|
| layers, hidden size, heads of 64, MLP | {layers}, {hidden}, {heads}, {mlp} |
| embeddings | tied |
| text | {tokens:,} tokens in {steps:,} steps of {rows} conversations, drawn anew for every step |
| optimizer | Muon for the matrices ({muon}), AdamW for embeddings and norms ({adam}) |
| schedule | {warm} steps up, a plateau, {decay} steps of decay to step {again:,}, then a second decay from half |
| precision | float32 weights, bfloat16 autocast, eager attention, torch.compile |
| seed | {seed} |
| seconds | {seconds:.0f} on {threads} processor threads |
| loss at the end | {loss:.3f} nats per token, weighted {user} on user turns, 1 on assistant turns, 0 on tool lists |
| versions | Python {python}, torch {torch}, transformers {transformers}, tokenizers {tokenizers} |

## The text, and what it does not hold

Conversations over random tool lists, written by `scripts/tiny_qwen3/warmup.py` from the words of the `synthetic`
source's **train** split and from words, wordings and made-up names of its own. Tools, wordings and values of the
development and final splits are filtered out.

It holds **no label of the task**: whether an assistant's turn calls, refuses, asks back, claims or chats is drawn
without a look at the tools or the request. Beside that there are exercises in reading: fill a form from a request
(a value or "open"), name the tool, say whether a verb and a thing are in the tool list, copy a value, list what a
tool requires, write a call, and note about a request whether its tool is listed and which required values it leaves
open. The deciding words of these exercises weigh {deciding} times in the loss.

To be plain about it: the notes are facts from which the right behaviour follows by the source's rule, so the base
model has learned to see what matters. It has not been told what to do about it; when to call, ask, refuse or answer
is left to fine-tuning, and before that its behaviour is no better than chance.

The text has a course of {num_stages} stages, which begin at the steps {stages}: plain words, odder words, more
searching, notes, shorter notes, few exercises, more calls with longer odd names, hardly an exercise. The course was
set while it ran, with an eye on the development split; the final split was not looked at.

## Use

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("examples/tiny-qwen3")
model = AutoModelForCausalLM.from_pretrained("examples/tiny-qwen3")
```

The chat template is ChatML with one tool a line and calls as `<tool_call>` JSON; a turn ends with `<|im_end|>`.
"""


def make(to: Path, work: Path, num_steps: int | None) -> None:
    """Writes the folder `to`; checkpoints of the warm-up are kept in `work`."""
    plan = (
        Plan()
        if num_steps is None
        else replace(Plan(), num_steps=num_steps, num_decay_steps=num_steps // 4, again_at=num_steps)
    )
    vocabulary = work / "tokenizer"
    if not (vocabulary / "tokenizer.json").exists():
        train_tokenizer(plan.seed, VOCAB_SIZE).save_pretrained(vocabulary)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(vocabulary)
    model = new_model(plan.seed, len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id)
    result = pretrain(model, tokenizer, plan, work)
    write(to, model, tokenizer, plan, result)
    print(f"wrote {to}")


def write(
    to: Path, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, plan: Plan, result: dict[str, float]
) -> None:
    """The folder with model, tokenizer, generation settings and card."""
    to.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.to(torch.bfloat16).save_pretrained(to)
    tokenizer.save_pretrained(to)
    settings_file = to / "tokenizer_config.json"
    settings = json.loads(settings_file.read_text(encoding="utf-8"))
    # What only tells where the tokenizer was loaded from does not belong in the folder.
    settings = {key: value for key, value in settings.items() if key not in ("backend", "is_local", "local_files_only")}
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    settings_file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    (to / "model.safetensors").chmod(0o644)
    config = model.config
    card = CARD.format(
        parameters=sum(p.numel() for p in model.parameters()),
        vocab=len(tokenizer),
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        mlp=config.intermediate_size,
        tokens=int(result["num_tokens"]),
        steps=plan.num_steps,
        rows=plan.num_rows,
        muon=plan.muon_learning_rate,
        adam=plan.learning_rate,
        warm=plan.num_warmup_steps,
        decay=plan.num_decay_steps,
        again=plan.again_at,
        seed=plan.seed,
        seconds=result["seconds"],
        threads=plan.num_threads,
        loss=result["loss"],
        user=USER_WEIGHT,
        deciding=f"{DECIDING_WEIGHT:.0f}",
        num_stages=len(plan.stages_at) + 1,
        stages=", ".join(f"{step:,}" for step in (0, *plan.stages_at)),
        python=platform.python_version(),
        torch=torch.__version__,
        transformers=transformers.__version__,
        tokenizers=tokenizers.__version__,
    )
    (to / "README.md").write_text(card, encoding="utf-8")
