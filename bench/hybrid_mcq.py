"""Multiple choice on hybrid models: what prompts share computed once, against every prompt for each of its choices.

    python bench/hybrid_mcq.py [--quick] [--shape qwen3_5|lfm2]

The models have the widths of Qwen3.5-0.8B (three Gated DeltaNet layers and one of full attention) and of LFM2-350M (two
short convolutions and one of attention; in a hurry, both have one of each), random weights, and a vocabulary smaller by
as much as they have fewer layers. The rows are NVIDIA's where they are at hand, else made-up. Both sides are calltune's
`hf` backend, with the same texts and weights, and have to give the same log-likelihoods. Compared is the process's CPU
seconds on one thread, tokenizing included. The last line is one JSON object; its ratio is the smaller one.
"""

import argparse
import json
import tempfile
from importlib.metadata import version
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
# Neighbours in the file often have tools in common, as in the whole benchmark: rows are taken by such stretches.
STRETCHES, STRETCH = 4, 2
SHAPES = {
    "qwen3_5": (["linear_attention", "linear_attention", "linear_attention", "full_attention"], 24, 248_320),
    "lfm2": (["conv", "conv", "full_attention"], 16, 65_536),
}
"""Kinds of layers, how many of them the real model has, and its vocabulary."""


def save_model(shape, folder, quick):
    torch.manual_seed(0)
    kinds, num_layers, vocabulary = SHAPES[shape]
    kinds = kinds[-2:] if quick else kinds
    # Weights wider than a fresh model's, so that log-likelihoods depend on the text by whole nats.
    common = {"initializer_range": 0.1, "max_position_embeddings": 32_768, "tie_word_embeddings": True}
    common |= {
        "vocab_size": vocabulary * len(kinds) // num_layers,
        "num_hidden_layers": len(kinds),
        "layer_types": kinds,
    }
    if shape == "qwen3_5":
        config = transformers.Qwen3_5TextConfig(
            hidden_size=1024,
            intermediate_size=3584,
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
        hidden_size=1024,
        intermediate_size=6656,
        num_attention_heads=16,
        num_key_value_heads=8,
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


def counted(backend):
    """The sizes of the model's passes in tokens, padding included: a list that grows with each."""
    backbone, counts = backend._model.base_model, []
    own = backbone.forward

    def forward(*args, **kwargs):
        counts.append(kwargs["input_ids"].numel())
        return own(*args, **kwargs)

    backbone.forward = forward
    return counts


def measured(shape, quick):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Not more tokens than the smallest model knows.
        vocabulary = qwen3.save_tokenizer(folder, layers=1)
        save_model(shape, folder, quick)
        samples, words = samples_in(folder)
        ours, plain = (Backend(name, TOKENS_PER_BATCH, share_prefixes=share) for share in (True, False))
    starts = [len(samples) // 8] if quick else [len(samples) * number // STRETCHES for number in range(STRETCHES)]
    chosen = [sample for start in starts for sample in samples[start : start + STRETCH]]
    requests = list(requests_of(ours.chat, chosen))
    tokenizer = ours.chat.tokenizer
    texts = [request.prompt + text for request in requests for text in request.continuations]
    num_tokens = sum(map(len, tokenizer(texts).input_ids))
    for backend in (ours, plain):
        backend.loglikelihood([ScoringRequest("Which tool is it?", ("This one.", "None of them."))])
    tokens, plain_tokens = counted(ours), counted(plain)
    found, seconds = cpu_seconds(lambda: ours.loglikelihood(requests))
    num_ours = sum(tokens)
    expected, plain_seconds = cpu_seconds(lambda: plain.loglikelihood(requests))
    if not quick:
        # Before and after: on a busy machine a second of CPU time is not always worth the same.
        _, after = cpu_seconds(lambda: ours.loglikelihood(requests))
        seconds = (seconds + after) / 2
    pairs = zip((v for row in found for v in row), (v for row in expected for v in row), strict=True)
    difference = max(abs(one - other) / abs(other) for one, other in pairs)
    assert difference < 1e-4, f"log-likelihoods differ from the plain path's by {difference:.1e}, relative"
    print(f"{shape}: {words}, {vocabulary}, {len(requests)} questions, {num_tokens} tokens")
    return {
        "ratio": round(plain_seconds / seconds, 2),
        "ratio_of_tokens": round(sum(plain_tokens) / num_ours, 2),
        "cpu_seconds": {"ours": round(seconds, 2), "plain": round(plain_seconds, 2)},
        "questions": len(requests),
        "largest_relative_difference": float(f"{difference:.1e}"),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two rows, under a minute; without it, 8 of them")
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
