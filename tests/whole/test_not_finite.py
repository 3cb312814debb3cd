"""A model whose numbers are none has no figures: questions are errors, the gate does not pass, no file holds a nan."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from changed_models import INFINITY, NAN, with_number, with_weights

from calltune.cli import main
from calltune.models.load import load_tokenizer

EMBEDDING = "model.embed_tokens.weight"
GATE = '[gate]\nrules = ["when2call.hallucination_rate <= 0.05"]\n'


def strict(text: str) -> object:
    def refuse(name: str) -> object:
        raise ValueError(name)

    return json.loads(text, parse_constant=refuse)


def all_strict(folder: Path) -> int:
    """How many JSON documents there are; each of them is JSON."""
    texts = [path.read_text() for path in folder.rglob("*.json")]
    texts += [line for path in folder.rglob("*.jsonl") for line in path.read_text().splitlines()]
    return len([strict(text) for text in texts])


@pytest.mark.parametrize(
    ("name", "number"),
    [("model.layers.0.mlp.down_proj.weight", NAN), ("model.layers.0.mlp.down_proj.weight", INFINITY), (EMBEDDING, NAN)],
    ids=["nan", "inf", "embedding"],
)
def test_a_base_without_numbers_is_not_measured(
    name: str,
    number: float,
    write_run_file: Callable[..., Path],
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = with_number(tiny_model, tmp_path / "m", name, number)
    file = write_run_file(GATE, top="stages = []", model=model)
    assert main(["prepare", str(file)]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(file)]) == 2
    out, error = capsys.readouterr()
    assert error == (
        "calltune: 8 of 8 questions of when2call could not be answered, the first because the log-likelihood of "
        "'direct' is nan (look at the model's weights); run again to go on\n"
    )
    # One row of the embedding is also one of the head, of which the states know nothing.
    told = "its states are not finite, so packed and plain rows cannot be compared; look at its weights" in out
    assert told == (name != EMBEDDING)
    place = tmp_path / "runs" / "toy" / "eval" / "base" / "when2call"
    rows = [json.loads(line) for line in (place / "completions.jsonl").read_text().splitlines()]
    assert {row["status"] for row in rows} == {"error"}
    assert not (place / "result.json").exists()
    assert not (place / "manifest.json").exists()
    assert all_strict(tmp_path / "runs") > 20
    assert main(["report", str(file)]) == 2
    assert "nothing was evaluated yet" in capsys.readouterr().err


def test_answers_and_draws_from_no_numbers_are_errors(
    write_run_file: Callable[..., Path], tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = with_number(tiny_model, tmp_path / "m")
    file = write_run_file("[mine]\nnum_answers = 2\nmax_new_tokens = 8\n", top='stages = ["dpo"]', model=model)
    asked = ["evaluate.benchmarks=[{name='when2call_generation', path='{run}/data/test.jsonl', max_new_tokens=8}]"]
    assert main(["prepare", str(file), *asked]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(file), *asked]) == 2
    assert capsys.readouterr().err == (
        "calltune: 8 of 8 questions of when2call_generation could not be answered, the first because the model's "
        "logits are not finite (look at its weights); run again to go on\n"
    )
    for _ in range(2):
        # What failed is drawn again.
        assert main(["mine", str(file), *asked]) == 2
        out, error = capsys.readouterr()
        assert "questions could not be answered, the first because the model's logits are not finite" in error
        assert error.count("\n") == 1
        assert " are asked; " in out
    assert not (tmp_path / "runs" / "toy" / "answers" / "manifest.json").exists()


def test_a_nan_that_no_question_meets_changes_nothing(
    write_run_file: Callable[..., Path], tiny_model: Path, tmp_path: Path
) -> None:
    """A token that occurs nowhere, of a model whose head is a matrix of its own."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    model.config.tie_word_embeddings = False
    model.lm_head.weight = type(model.lm_head.weight)(model.lm_head.weight.detach().clone())
    model.save_pretrained(tmp_path / "untied")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / "untied" / name).write_bytes((tiny_model / name).read_bytes())

    file = write_run_file(top="stages = []", model=tmp_path / "untied")
    assert main(["prepare", str(file), "name=asked"]) == 0
    asked = (tmp_path / "runs" / "asked" / "data" / "test.jsonl").read_text()
    asked += (tiny_model / "chat_template.jinja").read_text()
    tokenizer = load_tokenizer(str(tiny_model))
    words = {number: str(tokenizer.decode([number])) for number in range(3072)}
    unused = next(number for number, word in words.items() if word.isalpha() and len(word) > 4 and word not in asked)

    def spoil(weights: dict[str, torch.Tensor]) -> None:
        weights[EMBEDDING][unused] = NAN

    spoiled = with_weights(tmp_path / "untied", tmp_path / "spoiled", spoil)
    likelihoods = "evaluate.benchmarks=[{name='when2call', path='{run}/data/test.jsonl'}]"
    found = []
    for number, folder in enumerate((tmp_path / "untied", spoiled)):
        file = write_run_file(top="stages = []", model=folder)
        for verb in ("prepare", "evaluate"):
            assert main([verb, str(file), f"name=r{number}", likelihoods]) == 0
        place = tmp_path / "runs" / f"r{number}" / "eval" / "base" / "when2call"
        found.append((place / "completions.jsonl").read_bytes())
    assert found[0] == found[1]
