"""Greedy answers to an agent's prompts: calltune's `hf` backend against transformers' batched `generate`, one thread.

    python bench/generate.py [--quick] [--model FOLDER]

Every prompt begins with the same eight tools, as an agent sends them. The model has Qwen3-0.6B's blocks with random
weights, few of them, and a vocabulary smaller by as much; it hardly ever ends an answer, so each has as many tokens as
are asked for. `--model` takes a real one instead, whose answers end where they end. The peer gets the same prompts in
batches of like length, padded on the left, and computes each for itself. Both sides have to write the same answers,
but for rows in which two tokens are as likely; how many those are is printed. What is compared is the process's CPU
seconds, tokenizing and parsing included.

Then eight answers each are drawn to the prompts of a made-up assistant by the quickstart's model, which has learned how
calls begin, with the same random numbers on both sides; the peer has the prompt's cache copied to its answers. `drawn`
has the ratio, and how many rows were computed for how many tokens. The last line is one JSON object.
"""

import argparse
import json
import os
import tempfile
from dataclasses import replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from transformers import GenerationConfig

from calltune.data.sources import synthetic
from calltune.models.backends.drawing import Drawing, numbers_for
from calltune.models.backends.generation import Generator
from calltune.models.backends.hf import Backend
from calltune.models.backends.plain import PlainGenerator, pad_left
from calltune.models.backends.segments import Written
from calltune.models.backends.tokens import completion, end_ids
from calltune.models.load import load_model
from calltune.models.trie import num_shared
from calltune.types import Message, Sample
from material import qwen3, rows
from material.measures import cpu_name, cpu_seconds, peak_mib
from material.training import be_quiet

LAYERS, ROWS, TOKENS = 4, 48, 32
QUICK_LAYERS, QUICK_ROWS, QUICK_TOKENS, QUICK_NARROWER = 2, 24, 24, 2
PEER_ROWS = 16
TOKENS_PER_BATCH = 16_384
TARGET = 3.0
MOST_TIES = 0.05
DRAWN, DRAWN_TOKENS, DRAWN_PROMPTS, QUICK_DRAWN_PROMPTS = 8, 48, 64, 16


def agent_samples(number, hurry):
    """So many turns of the agent as questions to be answered."""
    turns, description = rows.turns()
    drawn = rows.drawn(turns, number, hurry)
    samples = [Sample(each.id, "agent", each.prompt, each.tools, None) for each in drawn]
    return samples, description


class Peer:
    """transformers as it comes: batches of like length, padding on the left, greedy."""

    def __init__(self, folder, chat):
        self._model = load_model(folder, torch.float32).eval()
        self._chat, self._ends = chat, end_ids(self._model.generation_config, chat)
        pad = chat.tokenizer.pad_token_id
        self._pad = chat.tokenizer.eos_token_id if pad is None else pad
        self._model.generation_config = GenerationConfig(
            do_sample=False, pad_token_id=self._pad, eos_token_id=sorted(self._ends)
        )

    @torch.inference_mode()
    def answer(self, samples, max_new_tokens):
        prompts = [self._chat.tokenizer(self._chat.prompt(each.messages, each.tools)).input_ids for each in samples]
        answers = [None] * len(prompts)
        order = iter(sorted(range(len(prompts)), key=lambda number: -len(prompts[number])))
        while batch := list(islice(order, PEER_ROWS)):
            ids, mask = pad_left([prompts[number] for number in batch], self._pad, self._model.device)
            written = self._model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=max_new_tokens)
            for number, tokens in zip(batch, written[:, ids.shape[1] :].tolist(), strict=True):
                answers[number] = completion(self._chat, self._ends, samples[number], tokens)
        return answers


@torch.inference_mode()
def drawn(num_prompts):
    """Eight answers each by the quickstart's model, here and by transformers' `generate` with the same draws."""
    backend = Backend(str(Path(__file__).parents[1] / "examples" / "tiny-qwen3"), TOKENS_PER_BATCH)
    model, ends, chat = backend._model, backend._ends, backend.chat
    rows = list(synthetic.examples(0, num_prompts))
    prompts = [chat.tokenizer(chat.prompt(row.prompt, row.tools)).input_ids for row in rows]
    numbers = numbers_for(0, [row.id for row in rows], DRAWN, DRAWN_TOKENS)
    drawing = Drawing(numbers, DRAWN, 1.0, 1.0)
    model.generation_config = GenerationConfig(do_sample=False, pad_token_id=0, eos_token_id=sorted(ends))
    peer = PlainGenerator(model, ends, 0, TOKENS_PER_BATCH)
    # Before the clock, as whoever comes first would pay for what both need.
    for side in (peer, Generator(model, ends, 0, TOKENS_PER_BATCH)):
        side.answers(prompts[:1], 2, drawing.of([0]))
    theirs, of_peer = cpu_seconds(lambda: peer.answers(prompts, DRAWN_TOKENS, drawing))
    writer, counts = Generator(model, ends, 0, TOKENS_PER_BATCH), []

    def count(module, args, given):
        if isinstance(given["segments"].own, Written):
            counts.append(len(given["input_ids"]))

    with_count = model.base_model.register_forward_pre_hook(count, with_kwargs=True)
    ours, of_ours = cpu_seconds(lambda: writer.answers(prompts, DRAWN_TOKENS, drawing))
    with_count.remove()
    ours, theirs = ([answer.tokens for own in side for answer in own] for side in (ours, theirs))
    others = sum(one != other for one, other in zip(ours, theirs, strict=True))
    assert others <= MOST_TIES * len(prompts) * DRAWN, f"{others} drawn answers differ from transformers'"
    return {
        "ratio": round(of_peer / of_ours, 2),
        "cpu_seconds": {"ours": round(of_ours, 2), "peer": round(of_peer, 2)},
        "prompts": len(prompts),
        "answers": DRAWN * len(prompts),
        "tokens": sum(map(len, ours)),
        "rows_computed": sum(counts),
        "other_answers": others,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="narrower blocks, fewer and shorter prompts")
    parser.add_argument("--model", help="a folder with a model, instead of one with random weights")
    asked = parser.parse_args()
    layers, num_rows, num_tokens = (QUICK_LAYERS, QUICK_ROWS, QUICK_TOKENS) if asked.quick else (LAYERS, ROWS, TOKENS)
    be_quiet()
    with tempfile.TemporaryDirectory() as name:
        folder, described = asked.model or name, asked.model and Path(asked.model).name
        if not asked.model:
            vocabulary = qwen3.save_tokenizer(Path(name), layers)
            # Weights wider than a fresh model's, so that a token is likelier than the others by whole nats.
            qwen3.save_model(Path(name), layers, initializer_range=0.1, narrower=QUICK_NARROWER if asked.quick else 1)
            described = f"{layers} of Qwen3-0.6B's blocks, random weights, {vocabulary}"
        backend = Backend(folder, TOKENS_PER_BATCH)
        peer = Peer(folder, backend.chat)
    samples, description = agent_samples(num_rows, asked.quick)
    chat = backend.chat
    prompts = sorted(chat.tokenizer(chat.prompt(each.messages, each.tools)).input_ids for each in samples)
    shared = num_shared(prompts[0], prompts[-1])
    print(f"{description}: {num_rows} prompts, {sum(map(len, prompts))} tokens, {shared} in all of them; {described}")
    # A model is asked once whether it can share, which is no matter of a few answers; of the tools nothing is kept yet.
    for side in (backend, peer):
        side.answer([replace(samples[0], messages=(Message("user", "Hi!"),), tools=())], 2)
    times, answers = {}, {}
    for side, ask in (("ours", backend.answer), ("peer", peer.answer)):
        peak, (answers[side], times[side]) = peaked(lambda ask=ask: cpu_seconds(lambda: ask(samples, num_tokens)))
        times[f"{side}_peak_mib"] = peak
    kept = cpu_seconds(lambda: backend.answer(samples, num_tokens))[1]
    others = sum(one != other for one, other in zip(answers["ours"], answers["peer"], strict=True))
    assert others <= MOST_TIES * num_rows, f"{others} of {num_rows} answers differ from transformers'"
    result = {
        "name": "generate",
        "ratio": round(times["peer"] / times["ours"], 2),
        "peer": f"transformers generate, batches of {PEER_ROWS} of like length, greedy",
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
        "targets": {"ratio": TARGET},
        "cpu_seconds": {side: round(times[side], 2) for side in ("ours", "peer")} | {"ours_kept_tools": round(kept, 2)},
        "peak_mib": {side: times[f"{side}_peak_mib"] for side in ("ours", "peer")},
        "other_answers": others,
        "drawn": drawn(QUICK_DRAWN_PROMPTS if asked.quick else DRAWN_PROMPTS),
        "rows": num_rows,
        "new_tokens": num_tokens,
        "tokens": sum(map(len, prompts)),
        "shared_tokens": shared,
        "data": description,
        "model": described,
        "tokens_per_batch": TOKENS_PER_BATCH,
        "cpu": cpu_name(),
        "quick": asked.quick,
    }
    print(json.dumps(result))


def peaked(work):
    """By how many MiB the process grows while `work()` runs, and what that gives."""
    given = []
    peak = peak_mib(lambda: given.append(work()))
    return peak, given[0]


if __name__ == "__main__":
    main()
