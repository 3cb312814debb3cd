from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from calltune.data.sources import synthetic
from calltune.models.load import load_model, load_tokenizer
from calltune.models.parity import Parity, Probe, Reading, compare, read_model, tolerance

BASE = Path(__file__).parents[2] / "examples" / "tiny-qwen3"
NEW_TOKENS = 12


def check(before: Reading, probes: list[Probe], folder: Path, dtype: torch.dtype, noise: float = 0.0) -> Parity:
    """A model of a folder in a precision, each weight off by a share of its matrix's size, against a reading."""
    model: Any = load_model(str(folder), torch.float32).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * parameter.std() * noise)
    return compare(before, model.to(dtype), probes, NEW_TOKENS)


def tokens_of(texts: list[str], folder: Path) -> list[list[int]]:
    return [load_tokenizer(str(folder))(text).input_ids for text in texts]


@pytest.fixture(scope="module")
def tiny() -> tuple[list[Probe], Reading]:
    texts = [str(row.messages[0].content) for row in synthetic.examples(seed=5, num_examples=6)]
    probes = [Probe(ids[:-4], ids[-4:]) for ids in tokens_of(texts, BASE)]
    return probes, read_model(load_model(str(BASE), torch.float32).eval(), probes, NEW_TOKENS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_rounding_passes_and_a_change_of_weights_does_not(dtype: torch.dtype, tiny: tuple) -> None:
    probes, before = tiny
    rounded = check(before, probes, BASE, dtype)
    assert not rounded.problem
    # What the tolerance is derived from: the mean of rounding is about one gap after 1.
    assert rounded.mean_difference < max(2 * torch.finfo(dtype).eps, 1e-5)
    assert rounded.num_same + rounded.num_undecided == rounded.num_probes == 6
    assert rounded.num_tokens == sum(map(len, before.greedy)) + 6 * 4
    changed = check(before, probes, BASE, dtype, noise={torch.float32: 2e-4, torch.float16: 5e-3}.get(dtype, 4e-2))
    assert changed.mean_difference > changed.tolerance == tolerance(dtype)
    assert "log-likelihoods differ by" in changed.problem


def test_another_answer_is_told_where_the_first_was_decided(tiny: tuple) -> None:
    probes, before = tiny
    model: Any = load_model(str(BASE), torch.float32).eval()
    other = (before.greedy[2][3] + 1) % 100
    greedy = [list(answer) for answer in before.greedy]
    greedy[2][3] = other
    for margin, problem in ((0.5, "the answer to probe 2 is another, where it was decided by 0.5 nats"), (1e-5, "")):
        scores = [own.clone() for own in before.scores]
        scores[2][3, other] = scores[2][3, before.greedy[2][3]] + margin
        # The mean may not decide here: what is scored of the changed answer is the model's own.
        shown = replace(before, greedy=greedy, scores=scores)
        rescored = read_model(model, [Probe(probes[2].prompt, greedy[2])], 1).known[0]
        shown.scores[2].scatter_(1, torch.tensor(greedy[2])[:, None], rescored[:, None])
        shown.scores[2][3, before.greedy[2][3]] = rescored[3] - margin
        found = compare(shown, model, probes, NEW_TOKENS)
        assert found.problem == problem
        assert (found.num_same, found.num_undecided) == (5, 0 if problem else 1)


def test_a_pretrained_llama(shared_data: Path) -> None:
    """No chat template is needed: probes are tokens."""
    folder = shared_data / "stories260K"
    texts = ["Once upon a time, there was a little girl named Lily.", "One day, Tom and his dog went to the park."]
    probes = [Probe(ids[:-5], ids[-5:]) for ids in tokens_of(texts, folder)]
    before = read_model(load_model(str(folder), torch.float32).eval(), probes, NEW_TOKENS)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        assert not check(before, probes, folder, dtype).problem
    assert check(before, probes, folder, torch.bfloat16, noise=0.1).problem
