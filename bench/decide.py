"""What a model would do, for eight questions about one agent's ten tools: one pass over a trie, against plain rows.

    python bench/decide.py [--quick]

The model has Qwen3-0.6B's blocks with random weights, few of them, and a vocabulary smaller by as much. How answers
begin is learned from the made-up agent's answers. The peer is transformers with one row for each place of the trie that
is read, padded, eight rows a batch; it gets the first questions alone, and its cost is counted for as many. Both have
to give the same log-probabilities. Tokens are those that go through the model; a prefill is the longest of the eight
prompts. The last line is one JSON object.
"""

import argparse
import json
import os
import tempfile
from importlib.metadata import version
from itertools import islice
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
import torch

from calltune.data.sources.agent import rows as agent_rows
from calltune.models.backends.hf import Backend
from calltune.models.backends.plain import pad_left
from calltune.models.beginnings import learn
from calltune.models.load import load_model
from calltune.types import Sample
from material import qwen3
from material.measures import cpu_name, cpu_seconds
from material.training import be_quiet

LAYERS, QUICK_LAYERS, QUICK_NARROWER = 4, 2, 2
QUESTIONS, PEER_QUESTIONS, PEER_ROWS = 8, 2, 8
TARGET_PREFILLS, TARGET_RATIO = 1.5, 20.0


def first_turns(rows):
    """The first questions of eight conversations, all over the same tools."""
    begun = next(row for row in rows if row.tools)
    turns = (row for row in rows if row.tools == begun.tools and len(row.prompt) == len(begun.prompt))
    return [Sample(row.id, "decide", row.prompt, row.tools, None) for row in islice(turns, QUESTIONS)]


class Peer:
    """transformers as it comes: each row that is read, whole, padded on the left."""

    def __init__(self, folder, chat):
        self._model, self._tokenizer = load_model(folder, torch.float32).eval(), chat.tokenizer
        self._chat, self.tokens = chat, 0

    @torch.inference_mode()
    def logprobs(self, samples, paths):
        found = []
        for sample in samples:
            prompt = self._tokenizer(self._chat.prompt(sample.messages, sample.tools)).input_ids
            read = iter(sorted({path[:-1] for path in paths}, key=lambda path: (len(path), path)))
            nexts = {}
            while batch := list(islice(read, PEER_ROWS)):
                ids, mask = pad_left([[*prompt, *row] for row in batch], self._tokenizer.pad_token_id, "cpu")
                self.tokens += ids.numel()
                positions = (mask.cumsum(1) - 1).clamp(min=0)
                most = max(map(len, batch)) + 1
                logits = self._model(ids, attention_mask=mask, position_ids=positions, logits_to_keep=most).logits
                for row, values in zip(batch, logits.float().log_softmax(-1), strict=True):
                    nexts[row] = values[most - len(row) - 1 :]
            found.append(
                [sum(float(nexts[path[:-1]][place, token]) for place, token in enumerate(path)) for path in paths]
            )
        return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two narrower blocks")
    quick = parser.parse_args().quick
    layers = QUICK_LAYERS if quick else LAYERS
    be_quiet()
    with tempfile.TemporaryDirectory() as name:
        vocabulary = qwen3.save_tokenizer(Path(name), layers)
        # Weights wider than a fresh model's, so that tokens differ in likelihood by whole nats.
        qwen3.save_model(Path(name), layers, initializer_range=0.1, narrower=QUICK_NARROWER if quick else 1)
        backend = Backend(name, 16_384)
        peer = Peer(name, backend.chat)
    chat, rows = backend.chat, list(agent_rows.examples(0, 120))
    samples = first_turns(rows)
    texts = [chat.answer(row.prompt, row.tools, row.answers[0]) for row in rows]
    tokens = [chat.tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    known = learn(zip(tokens, [row.behavior for row in rows], strict=True))
    paths = [path.tokens for path in known.paths]
    prompts = [len(chat.tokenizer(chat.prompt(each.messages, each.tools)).input_ids) for each in samples]
    # A model is asked once whether it can share, which is no matter of a few questions.
    backend.path_loglikelihoods(samples[:1], paths[:1])
    counted = []
    embeddings = backend._model.get_input_embeddings()
    watch = embeddings.register_forward_pre_hook(lambda module, inputs: counted.append(inputs[0].numel()))
    ours, seconds = cpu_seconds(lambda: backend.path_loglikelihoods(samples, paths))
    watch.remove()
    theirs, peer_seconds = cpu_seconds(lambda: peer.logprobs(samples[:PEER_QUESTIONS], paths))
    pairs = [(a, b) for one, other in zip(ours, theirs, strict=False) for a, b in zip(one, other, strict=True)]
    furthest = max(abs(a - b) for a, b in pairs)
    assert furthest < 1e-2, f"log-probabilities differ by {furthest} nats"
    prefills = sum(counted) / max(prompts)
    assert prefills < TARGET_PREFILLS, f"eight questions cost {prefills:.2f} prefills"
    times = QUESTIONS / PEER_QUESTIONS
    result = {
        "name": "decide",
        "ratio": round(times * peer_seconds / seconds, 2),
        "peer": f"transformers, a row for each place that is read, {PEER_ROWS} a batch; {PEER_QUESTIONS} questions",
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
        "targets": {"ratio": TARGET_RATIO, "prefills": TARGET_PREFILLS},
        "prefills": round(prefills, 3),
        "cpu_seconds": {"ours": round(seconds, 2), "peer": round(times * peer_seconds, 2)},
        "tokens": {"ours": sum(counted), "peer": round(times * peer.tokens), "longest_prompt": max(prompts)},
        "questions": QUESTIONS,
        "trie_tokens": known.num_tokens,
        "paths": len(paths),
        "largest_difference": furthest,
        "model": f"{layers} of Qwen3-0.6B's blocks, random weights, {vocabulary}",
        "cpu": cpu_name(),
        "quick": quick,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
