"""How likely an answer begins with given tokens, in one pass, as a plain forward of each path has it."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, Lfm2Config, Lfm2ForCausalLM

from calltune.data.sources import synthetic
from calltune.data.sources.agent import rows as agent_rows
from calltune.evaluation.calibration import Calibration
from calltune.evaluation.decisions import Decision, completions, decision_json, read_decision
from calltune.files.json_lines import write_json
from calltune.models.backends.hf import Backend
from calltune.models.beginnings import Beginnings, learn
from calltune.types import BEHAVIORS, Example, Sample

SHIPPED = Path(__file__).parents[3] / "examples" / "tiny-qwen3"
CALIBRATION = Calibration(0.7, (0.2, -0.3, 0.1, 0.0), 0.4, 50)


def hybrid(folder: Path) -> Path:
    """A model with states instead of keys in its first layer; of a wide spread, so that tokens differ."""
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(SHIPPED / name, folder / name)
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.2}
    kinds = ["conv", "full_attention"]
    Lfm2ForCausalLM(Lfm2Config(vocab_size=3072, layer_types=kinds, **sizes, **heads)).save_pretrained(str(folder))
    return folder


def samples(number: int) -> list[Sample]:
    rows = list(synthetic.examples(seed=2, num_examples=number))
    return [Sample(row.id, "decide", row.prompt, row.tools, row.behavior, behavior=row.behavior) for row in rows]


def learned(backend: Backend, rows: list[Example], **bounds: int) -> Beginnings:
    chat = backend.chat
    texts = [chat.answer(row.prompt, row.tools, row.answers[0]) for row in rows]
    tokens = [chat.tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    return learn(zip(tokens, [row.behavior for row in rows], strict=True), **bounds)


def plain(folder: Path, backend: Backend, asked: list[Sample], known: Beginnings) -> np.ndarray:
    """One row for each path, by transformers alone."""
    model, chat = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval(), backend.chat
    values = np.zeros((len(asked), len(known.paths)))
    for place, sample in enumerate(asked):
        prompt = chat.tokenizer(chat.prompt(sample.messages, sample.tools)).input_ids
        for number, path in enumerate(known.paths):
            with torch.no_grad():
                logits = model(torch.tensor([[*prompt, *path.tokens]])).logits[0, len(prompt) - 1 : -1]
            logprobs = logits.log_softmax(-1)
            values[place, number] = sum(float(logprobs[k, token]) for k, token in enumerate(path.tokens))
    return values


@pytest.mark.parametrize("kind", ["attention", "states"])
def test_probabilities_are_those_of_plain_log_likelihoods(kind: str, tmp_path: Path) -> None:
    folder = SHIPPED if kind == "attention" else hybrid(tmp_path)
    backend = Backend(str(folder), 4096)
    known = learned(backend, list(synthetic.examples(seed=1, num_examples=80)), most_paths=24)
    assert known.num_tokens > 3
    asked = samples(4)
    expected = plain(folder, backend, asked, known)
    paths = [path.tokens for path in known.paths]
    for bound in (64, 4096):
        found = Backend(str(folder), bound).path_loglikelihoods(asked, paths)
        assert np.array(found) == pytest.approx(expected, abs=1e-4)
    decision = Decision(known, CALIBRATION)
    for ours, theirs in zip(decision.decide(backend, asked), decision.of(expected.tolist()), strict=True):
        assert ours is not None
        assert theirs is not None
        assert ours.probabilities == pytest.approx(theirs.probabilities, abs=1e-4)
        assert ours.raw == pytest.approx(theirs.raw, abs=1e-4)
        assert ours.outside == pytest.approx(theirs.outside, abs=1e-4)
        assert sum(ours.probabilities.values()) == pytest.approx(1)


def test_eight_questions_cost_less_than_one_and_a_half_prefills() -> None:
    """Of an agent's first turns over its ten tools; tokens that go through the model are counted."""
    backend = Backend(str(SHIPPED), 2**14)
    rows = list(agent_rows.examples(seed=1, num_conversations=80))
    known = learned(backend, rows)
    first = next(row for row in rows if row.tools)
    turns = [row for row in rows if row.tools == first.tools and len(row.prompt) == len(first.prompt)][:8]
    asked = [Sample(row.id, "decide", row.prompt, row.tools, None) for row in turns]
    # What it can share, it is asked before.
    backend.path_loglikelihoods(asked[:1], [(5, 6)])
    counted: list[int] = []
    embeddings = backend._model.get_input_embeddings()
    watch = embeddings.register_forward_pre_hook(lambda module, inputs: counted.append(inputs[0].numel()))
    backend.path_loglikelihoods(asked, [path.tokens for path in known.paths])
    watch.remove()
    prompts = [backend.chat.tokenizer(backend.chat.prompt(each.messages, each.tools)).input_ids for each in asked]
    longest = max(map(len, prompts))
    assert longest < sum(counted) < 1.5 * longest
    assert len(counted) == 1
    assert len(asked) == 8


def test_a_decision_is_read_as_it_was_written(tmp_path: Path) -> None:
    known = learn([((1, 2, 3), "tool_call"), ((1, 4), "direct"), ((5, 6), "cannot_answer")])
    decision = Decision(known, CALIBRATION)
    write_json(tmp_path / "decide.json", decision_json(decision))
    assert read_decision(tmp_path) == decision


class Broken:
    """A backend whose second question has no number."""

    def path_loglikelihoods(self, samples: list[Sample], paths: list) -> list[list[float]]:
        return [[-1.0] * len(paths), [float("nan")] * len(paths)]


def test_what_is_no_number_is_an_error_and_no_decision() -> None:
    decision = Decision(learn([((1,), "tool_call"), ((2,), "direct")]), CALIBRATION)
    whole, broken = completions(Broken(), decision, samples(2))
    assert (whole.status, broken.status) == ("ok", "error")
    assert "not finite" in broken.reason
    assert whole.text in BEHAVIORS
