"""Multiple choice by log-likelihood: calltune's `hf` backend against lm-eval's `HFLM`, in one process, on one thread.

    python bench/mcq.py [--quick]

The model has Qwen3-0.6B's blocks with random weights, few of them, and a vocabulary smaller by as much, so that the LM
head has the share of the work that it has among 28 blocks. The rows are NVIDIA's where they are at hand, else made-up.
Both sides get the same texts and weights, and have to give the same log-likelihoods. What is compared is the process's
CPU seconds, tokenizing included; peak memory is what a pass adds to the process. The last line is one JSON object.
"""

import argparse
import json
import logging
import os
import sys
import tempfile
import time
import warnings
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate
from pathlib import Path

PEER = "0.4.13"
TOKENS_PER_BATCH = 4096
# Neighbours in the file have tools in common, as in the whole benchmark: rows are taken by stretches of neighbours.
STRETCHES, STRETCH = 4, 12
# Fewer are quicker, but what is done once for a text (tokenizing, packing) then weighs more than it does among 28.
LAYERS, QUICK_LAYERS = 4, 2
QUICK_TOKENS = 17_000  # of all choices: half a minute for the peer and us together
QUESTIONS_IN_TURN = 3
TARGET_PER_QUESTION, TARGET_TRIE = 4.4, 5.5


def peer_is_installed():
    try:
        return version("lm_eval") == PEER
    except PackageNotFoundError:
        return False


if not peer_is_installed():
    sys.exit(f"bench/mcq.py needs lm-eval {PEER}: pip install -c constraints.txt -e '.[train,bench]'")

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
import torch  # noqa: E402
import transformers  # noqa: E402
from lm_eval.api.instance import Instance  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402

from calltune.data.sources import synthetic  # noqa: E402
from calltune.evaluation.benchmarks import when2call  # noqa: E402
from calltune.models.backends.hf import Backend  # noqa: E402
from calltune.models.load import load_model  # noqa: E402
from calltune.types import ScoringRequest  # noqa: E402
from material import qwen3  # noqa: E402
from material.measures import peak_mib  # noqa: E402


def data(folder, layers):
    """The file of questions, and what they are; the tokenizer is written into the folder."""
    vocabulary = qwen3.save_tokenizer(folder, layers)
    rows = qwen3.SHARED / "when2call" / "nvidia_test_dev.jsonl"
    if rows.is_file():
        return rows, f"NVIDIA's When2Call test rows, {vocabulary}"
    made_up = folder / "rows.jsonl"
    questions = synthetic.questions(seed=0, num_questions=60, split="development")
    made_up.write_text("".join(json.dumps(row) + "\n" for row in questions), encoding="utf-8")
    return made_up, f"made-up rows (no real ones at hand), {vocabulary}"


def requests_of(chat, samples):
    for sample in samples:
        answers = (chat.answer(sample.messages, sample.tools, choice) for choice in sample.choices.values())
        yield ScoringRequest(chat.prompt(sample.messages, sample.tools), tuple(map(chat.strip_end, answers)))


class Timed:
    """Log-likelihoods and the process's CPU seconds for them, summed up over its turns."""

    def __init__(self, score):
        self._score = score
        self.values, self.seconds = [], 0.0

    def run(self, requests):
        start = time.process_time()
        self.values += self._score(requests)
        self.seconds += time.process_time() - start


def chosen(samples, quick):
    """Four stretches of twelve questions, evenly over the file; the first of them in a hurry."""
    starts = [len(samples) * number // STRETCHES for number in range(STRETCHES)]
    return [sample for start in starts[: 1 if quick else None] for sample in samples[start : start + STRETCH]]


def largest_difference(found, expected):
    """The largest relative difference of two lists of lists of log-likelihoods."""
    pairs = zip((v for row in found for v in row), (v for row in expected for v in row), strict=True)
    return max(abs(one - other) / abs(other) for one, other in pairs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few rows, under a minute; without it, 48 of them")
    quick = parser.parse_args().quick
    layers = QUICK_LAYERS if quick else LAYERS
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file, description = data(folder, layers)
        # Weights wider than a fresh model's, so that log-likelihoods depend on the text by whole nats.
        qwen3.save_model(folder, layers, initializer_range=0.1)
        backend = Backend(str(folder), tokens_per_batch=TOKENS_PER_BATCH)
        model = load_model(str(folder), torch.float32)
        samples = list(when2call.samples(when2call.Settings(path=str(file))))
    requests = list(requests_of(backend.chat, chosen(samples, quick)))
    tokenizer = backend.chat.tokenizer
    lengths = [sum(len(ids) for ids in tokenizer([r.prompt + c for c in r.continuations]).input_ids) for r in requests]
    if quick:
        count = sum(total <= QUICK_TOKENS for total in accumulate(lengths))
        requests, lengths = requests[:count], lengths[:count]
    print(f"{description}: {len(requests)} questions, {sum(lengths)} tokens in their choices")

    peer = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, device="cpu")

    def by_peer(asked):
        instances = [Instance("loglikelihood", {}, (r.prompt, text), 0) for r in asked for text in r.continuations]
        sums = iter(peer.loglikelihood(instances, disable_tqdm=True))
        return [[next(sums)[0] for _ in request.continuations] for request in asked]

    def by_question(asked):
        return [values for request in asked for values in backend.loglikelihood([request])]

    shortest = [min(requests, key=lambda request: len(request.prompt))]
    for warm_up in (by_peer, by_question):
        warm_up(shortest)
    theirs, question, trie, trie_again = map(Timed, (by_peer, by_question, *[backend.loglikelihood] * 2))
    # One question is largest at the longest. A quick look has no time for it twice and measures in its one turn; with
    # more of them that would cost time, as memory is given back before each.
    longest = [max(requests, key=lambda request: len(request.prompt))]
    sides = {"peer": (by_peer, theirs), "per_question": (by_question, question)}
    peaks = {} if quick else {name: peak_mib(partial(score, longest)) for name, (score, _) in sides.items()}
    # In turns, and the trie before and after: on a busy machine a second of CPU time is not always worth the same.
    peaks["trie"] = peak_mib(lambda: trie.run(requests))
    size = len(requests) if quick else QUESTIONS_IN_TURN
    for start in range(0, len(requests), size):
        for name, (_, side) in sides.items():
            turn = partial(side.run, requests[start : start + size])
            if quick:
                peaks[name] = peak_mib(turn)
            else:
                turn()
    trie_again.run(requests)
    trie_seconds = (trie.seconds + trie_again.seconds) / 2
    difference = max(largest_difference(side.values, theirs.values) for side in (question, trie, trie_again))
    assert difference < 1e-4, f"log-likelihoods differ from lm-eval's by {difference:.1e}, relative"
    ratio = round(theirs.seconds / trie_seconds, 2)
    result = {
        "name": "mcq",
        "ratio": ratio,
        "peer": f"lm-eval {PEER} HFLM.loglikelihood, batch_size 1, its default",
        "versions": {name: version(name) for name in ("lm_eval", "torch", "transformers", "tokenizers")},
        "ratio_trie": ratio,
        "ratio_per_question": round(theirs.seconds / question.seconds, 2),
        "targets": {"ratio_trie": TARGET_TRIE, "ratio_per_question": TARGET_PER_QUESTION},
        "cpu_seconds": {
            "peer": round(theirs.seconds, 2),
            "per_question": round(question.seconds, 2),
            "trie": round(trie_seconds, 2),
        },
        "peak_mib": peaks,
        "rows": len(requests),
        "tokens": sum(lengths),
        "data": description,
        "layers": layers,
        "vocabulary": qwen3.vocabulary_for(layers),
        "tokens_per_batch": TOKENS_PER_BATCH,
        "largest_relative_difference": float(f"{difference:.1e}"),
        "quick": quick,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
