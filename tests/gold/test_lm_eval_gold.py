"""Our prompts, log-likelihoods and argmaxes against lm-eval 0.4.13 with NVIDIA's prompts (`make_lm_eval.py`)."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from tiny_models import plain_loglikelihood, tiny_qwen3, toy_tokenizer
from toy_when2call import TOY_ROWS
from transformers import AutoTokenizer

from calltune.evaluation.benchmarks.when2call import likeliest, likeliest_per_character
from calltune.evaluation.benchmarks.when2call_prompts import FAMILIES, official_prompt
from calltune.models.backends.hf import Backend
from calltune.types import BEHAVIORS, Completion, ScoringRequest

GOLD = json.loads((Path(__file__).parent / "lm_eval_when2call.json").read_text(encoding="utf-8"))


def read_rows(shared_data):
    lines = (shared_data / "when2call" / "nvidia_test_dev.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def prompt_of(family, row):
    return official_prompt(family, row["question"], row["tools"], row["answers"], "test")


def digest(prompt, choices):
    total = hashlib.sha256()
    for text in (prompt, *choices.values()):
        raw = text.encode()
        total.update(f"{len(raw)}:".encode() + raw)
    return total.hexdigest()[:16]


def records(tokenizer, families=FAMILIES):
    found = [one for one in GOLD["records"] if one["tokenizer"] == tokenizer and one["family"] in families]
    assert len(found) == len(families) * {"toy": len(TOY_ROWS), "qwen3": 20}[tokenizer]
    return found


@pytest.fixture
def one_thread(monkeypatch):
    # The recorded sums are float32 on a processor; a GPU would be asked in bf16.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_of_own_rows_are_the_official_ones(family):
    for row in TOY_ROWS:
        assert digest(*prompt_of(family, row)) == GOLD["digests"][family][row["uuid"]], row["uuid"]


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_of_real_rows_are_the_official_ones(family, shared_data):
    rows = read_rows(shared_data)
    assert len(rows) + len(TOY_ROWS) == len(GOLD["digests"][family])
    for row in rows:
        assert digest(*prompt_of(family, row)) == GOLD["digests"][family][row["uuid"]], row["uuid"]


def check(found, rows, tokenizer, families=FAMILIES):
    """`found`: per record of the tokenizer and the families, the log-likelihoods of the four choices."""
    by_id = {row["uuid"]: row for row in rows}
    right = {family: {"acc": [], "acc_norm": []} for family in families}
    for record, sums in zip(records(tokenizer, families), found, strict=True):
        assert sums == pytest.approx(record["loglikelihoods"], rel=1e-4), record
        _, choices = prompt_of(record["family"], by_id[record["row"]])
        lengths = {behavior: len(text) for behavior, text in choices.items()}
        assert list(lengths.values()) == record["choice_lengths"]
        logprobs = dict(zip(choices, sums, strict=True))
        completion = Completion(record["row"], None, "", "ok", logprobs=logprobs, num_characters=lengths)
        chosen, chosen_norm = likeliest(completion), likeliest_per_character(completion)
        assert chosen == BEHAVIORS[record["argmax"]]
        assert chosen_norm == BEHAVIORS[record["argmax_norm"]]
        right[record["family"]]["acc"].append(chosen == BEHAVIORS[record["target"]])
        right[record["family"]]["acc_norm"].append(chosen_norm == BEHAVIORS[record["target"]])
    for family, metrics in right.items():
        for metric, verdicts in metrics.items():
            assert sum(verdicts) / len(verdicts) == pytest.approx(GOLD["totals"][tokenizer][family][metric])


def by_plain_passes(model, tokenizer, rows, name, families=FAMILIES):
    by_id = {row["uuid"]: row for row in rows}
    for record in records(name, families):
        prompt, choices = prompt_of(record["family"], by_id[record["row"]])
        assert hashlib.sha256(prompt.encode()).hexdigest() == record["prompt_sha256"]
        yield plain_loglikelihood(model, tokenizer, prompt, list(choices.values()))


def by_backend(model, tokenizer, rows, name, folder):
    by_id = {row["uuid"]: row for row in rows}
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    requests = []
    for record in records(name):
        prompt, choices = prompt_of(record["family"], by_id[record["row"]])
        requests.append(ScoringRequest(prompt, tuple(choices.values())))
    return Backend(str(folder), tokens_per_batch=2048).loglikelihood(requests)


@pytest.mark.usefixtures("one_thread")
def test_plain_passes_equal_lm_eval_on_own_rows():
    tokenizer = toy_tokenizer()
    model = tiny_qwen3(len(tokenizer))
    check(by_plain_passes(model, tokenizer, TOY_ROWS, "toy"), TOY_ROWS, "toy")


@pytest.mark.usefixtures("one_thread")
def test_backend_equals_lm_eval_on_own_rows(tmp_path):
    tokenizer = toy_tokenizer()
    model = tiny_qwen3(len(tokenizer))
    check(by_backend(model, tokenizer, TOY_ROWS, "toy", tmp_path), TOY_ROWS, "toy")


@pytest.mark.usefixtures("one_thread")
def test_plain_passes_equal_lm_eval_on_real_rows(shared_data):
    tokenizer = AutoTokenizer.from_pretrained(shared_data / "qwen3")
    rows = read_rows(shared_data)
    # In the first a choice's start merges with the question's end, in the second with the prompt's newlines.
    families = ("default", "xlam")
    check(by_plain_passes(tiny_qwen3(151936), tokenizer, rows, "qwen3", families), rows, "qwen3", families)


@pytest.mark.usefixtures("one_thread")
def test_backend_equals_lm_eval_on_real_rows(shared_data, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(shared_data / "qwen3")
    rows = read_rows(shared_data)
    check(by_backend(tiny_qwen3(151936), tokenizer, rows, "qwen3", tmp_path), rows, "qwen3")
