"""What sharing a prefix is worth by the prefix's length and the rows in a batch: a measured curve, one thread.

    python bench/prefix_lengths.py [--quick] [--save FOLDER]

Rows have a prefix in common, then 100 tokens of their own, the last 40 of them labels. Both sides are TRL's fused LM
head at labels alone over one Qwen3-0.6B block (random weights, a vocabulary smaller by as much), without checkpointing;
no row is padded. They must give the same gradients. What is compared is the process's CPU seconds of a forward and a
backward pass. `--save` writes prefix_lengths.json and prefix_lengths.png. The last line is one JSON object.
"""

import argparse
import json
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from trl.trainer.utils import add_fused_lm_head

from calltune.models.load import load_model
from calltune.training.labelled_head import score_labels_only
from calltune.training.sharing import share_prefixes
from material import qwen3
from material.measures import cpu_name, cpu_seconds
from material.training import be_quiet, relative_difference

PREFIXES, ROWS = (250, 500, 1_000, 2_000), (2, 4, 8, 16)
OWN, LABELLED = 100, 40


def make_model(folder):
    model = load_model(str(folder), torch.float32).train()
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    score_labels_only(model)
    return model


def make_batch(prefix, rows, vocabulary):
    generator = torch.Generator().manual_seed(0)
    common = torch.randint(vocabulary, (1, prefix), generator=generator).expand(rows, -1)
    ids = torch.cat([common, torch.randint(vocabulary, (rows, OWN), generator=generator)], dim=1)
    labels = ids.clone()
    labels[:, :-LABELLED] = -100
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def step(model, batch):
    """The gradient of one pass, and the CPU seconds of it."""

    def work():
        model(**batch, use_cache=False, fused_lm_head=True).loss.backward()

    model.zero_grad()
    _, seconds = cpu_seconds(work)
    return torch.cat([weight.grad.flatten() for weight in model.parameters()]), seconds


def plot(points, file):
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 4.2), layout="constrained")
    for rows in sorted({point["rows"] for point in points}):
        line = [point for point in points if point["rows"] == rows]
        drawn = axes.plot([p["prefix"] for p in line], [p["ratio"] for p in line], marker="o", label=f"{rows} rows")
        bound = [p["token_ratio"] for p in line]
        axes.plot([p["prefix"] for p in line], bound, linestyle=":", color=drawn[0].get_color(), linewidth=1)
    axes.set(xlabel="tokens that all rows of a batch begin with", ylabel="TRL's CPU seconds / calltune's", xscale="log")
    axes.set_xticks(PREFIXES, [f"{prefix:,}" for prefix in PREFIXES])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_title("A training step, 100 own tokens a row (dotted: tokens saved)", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(file, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two points and a narrower block")
    parser.add_argument("--save", type=Path, help="write the points and the plot into this folder")
    asked = parser.parse_args()
    be_quiet()
    prefixes, counts = (PREFIXES[1:2], ROWS[1:3]) if asked.quick else (PREFIXES, ROWS)
    narrower = 4 if asked.quick else 1
    vocabulary = qwen3.vocabulary_for(1)
    with tempfile.TemporaryDirectory() as name:
        qwen3.save_tokenizer(Path(name), layers=1)
        qwen3.save_model(Path(name), layers=1, narrower=narrower)
        plain, shared = make_model(Path(name)), make_model(Path(name))
    sharing = share_prefixes(shared)
    sharing.is_checked = True  # the first batch would be computed both ways
    for model in (plain, shared):
        step(model, make_batch(100, 2, vocabulary))
    points, differences = [], []
    for prefix in prefixes:
        for rows in counts:
            batch = make_batch(prefix, rows, vocabulary)
            (found, ours), (expected, theirs) = step(shared, batch), step(plain, batch)
            differences.append(relative_difference(found, expected))
            saved = rows * (prefix + OWN) / (prefix + rows * OWN)
            points.append(
                {"prefix": prefix, "rows": rows, "ratio": round(theirs / ours, 2), "token_ratio": round(saved, 2)}
            )
            print(points[-1])
    assert max(differences) < 1e-4, f"gradients differ by {max(differences):.1e}, relative"
    result = {
        "name": "prefix_lengths",
        "ratio": max(point["ratio"] for point in points),
        "peer": "trl's fused LM head at labels alone, same batch, no checkpointing",
        "versions": {name: version(name) for name in ("trl", "torch", "transformers")},
        "points": points,
        "own_tokens": OWN,
        "labelled_tokens": LABELLED,
        "largest_relative_gradient_difference": float(f"{max(differences):.1e}"),
        "layers": 1,
        "vocabulary": vocabulary,
        "narrower": narrower,
        "cpu": cpu_name(),
        "quick": asked.quick,
    }
    if asked.save:
        (asked.save / "prefix_lengths.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        plot(points, asked.save / "prefix_lengths.png")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
