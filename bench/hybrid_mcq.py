"""Multiple choice on hybrid models: what prompts share computed once, against every prompt for each of its choices.

    python bench/hybrid_mcq.py [--quick] [--shape qwen3_5|lfm2]

The models have the widths of Qwen3.5-0.8B (three Gated DeltaNet layers and one of full attention) and of LFM2-350M (two
short convolutions and one of attention), random weights, and a vocabulary smaller by as much as they have fewer layers.
The rows are NVIDIA's where they are at hand, else made-up. Both sides are calltune's `hf` backend, with the same texts
and weights, and have to give the same log-likelihoods. Compared is the process's CPU seconds on one thread, tokenizing
included. The last line is one JSON object; its ratio is the smaller one.
"""

import argparse
import json
import tempfile
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path

import torch
import transformers

from calltune.data.sources import synthetic
from calltune.evaluation.benchmarks import when2call
from calltune.models.backends.hf import Backend
from calltune.types import ScoringRequest
from material import qwen3
from material.measures import cpu_name, cpu_seconds

TARGET = 3.0
TOKENS_PER_BATCH = 4096
QUESTIONS, QUICK_TOKENS = 24, 5_000  # neighbours in the file, which have tools in common; tokens of all their choices
SHAPES = ("qwen3_5", "lfm2")


def save_model(shape, folder):
    torch.manual_seed(0)
    # Weights wider than a fresh model's, so that log-likelihoods depend on the text by whole nats.
    common = {"initializer_range": 0.1, "max_position_embeddings": 32_768, "tie_word_embeddings": True}
    if shape == "qwen3_5":
        config = transformers.Qwen3_5TextConfig(
            vocab_size=248_320 * 4 // 24,
            hidden_size=1024,
            intermediate_size=3584,
            num_hidden_layers=4,
            num_attention_heads=8,
            num_key_value_heads=2,
            head_dim=256,
            linear_num_key_heads=16,
            linear_num_value_heads=16,
            **common,
        )
        transformers.Qwen3_5ForCausalLM(config).save_pretrained(str(folder))
        return
    config = transformers.Lfm2Config(
        vocab_size=65_536 * 3 // 16,
        hidden_size=1024,
        intermediate_size=6656,
        num_hidden_layers=3,
        num_attention_heads=16,
        num_key_value_heads=8,
        layer_types=["conv", "conv", "full_attention"],
        **common,
    )
    transformers.Lfm2ForCausalLM(config).save_pretrained(str(folder))


def samples_in(folder):
    """Questions, and what they are."""
    rows, words = qwen3.SHARED / "when2call" / "nvidia_test_dev.jsonl", "NVIDIA's When2Call test rows"
    if not rows.is_file():
        rows, words = folder / "rows.jsonl", "made-up rows (no real ones at hand)"
        questions = synthetic.questions(seed=0, num_questions=60, split="development")
        rows.write_text("".join(json.dumps(row) + "\n" for row in questions), encoding="utf-8")
    return list(when2call.samples(when2call.Settings(path=str(rows)))), words


def requests_of(chat, samples):
    for sample in samples:
        answers = (chat.answer(sample.messages, sample.tools, choice) for choice in sample.choices.values())
        yield ScoringRequest(chat.prompt(sample.messages, sample.tools), tuple(map(chat.strip_end, answers)))


def num_computed(backend, requests):
    """How many tokens go through the model, padding included."""
    counts = []
    hook = backend._model.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: counts.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    values = backend.loglikelihood(requests)
    hook.remove()
    return values, sum(counts)


def measured(shape, quick):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vocabulary = qwen3.save_tokenizer(folder)
        save_model(shape, folder)
        samples, words = samples_in(folder)
        ours, plain = (Backend(name, TOKENS_PER_BATCH, share_prefixes=share) for share in (True, False))
    requests = list(requests_of(ours.chat, samples[:QUESTIONS]))
    tokenizer = ours.chat.tokenizer
    lengths = [sum(len(ids) for ids in tokenizer([r.prompt + c for c in r.continuations]).input_ids) for r in requests]
    if quick:
        requests = requests[: max(2, sum(total <= QUICK_TOKENS for total in accumulate(lengths)))]
    shortest = [min(requests, key=lambda request: len(request.prompt))]
    for backend in (ours, plain):
        backend.loglikelihood(shortest)
    # Ours before and after: on a busy machine a second of CPU time is not always worth the same.
    (found, tokens), before = cpu_seconds(lambda: num_computed(ours, requests))
    (expected, plain_tokens), plain_seconds = cpu_seconds(lambda: num_computed(plain, requests))
    _, after = cpu_seconds(lambda: ours.loglikelihood(requests))
    pairs = zip((v for row in found for v in row), (v for row in expected for v in row), strict=True)
    difference = max(abs(one - other) / abs(other) for one, other in pairs)
    assert difference < 1e-4, f"log-likelihoods differ from the plain path's by {difference:.1e}, relative"
    print(f"{shape}: {words}, {vocabulary}, {len(requests)} questions, {sum(lengths[: len(requests)])} tokens")
    return {
        "ratio": round(2 * plain_seconds / (before + after), 2),
        "ratio_of_tokens": round(plain_tokens / tokens, 2),
        "cpu_seconds": {"ours": round((before + after) / 2, 2), "plain": round(plain_seconds, 2)},
        "questions": len(requests),
        "largest_relative_difference": float(f"{difference:.1e}"),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few rows, under a minute; without it, 24 of them")
    parser.add_argument("--shape", choices=SHAPES, help="one of the two; without it, both")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    shapes = {shape: measured(shape, asked.quick) for shape in ([asked.shape] if asked.shape else SHAPES)}
    result = {
        "name": "hybrid_mcq",
        "ratio": min(shape["ratio"] for shape in shapes.values()),
        "peer": "calltune's hf backend with share_prefixes = false",
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
        "targets": {"ratio": TARGET},
        "shapes": shapes,
        "cpu": cpu_name(),
        "tokens_per_batch": TOKENS_PER_BATCH,
        "quick": asked.quick,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
