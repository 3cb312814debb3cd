"""A tokenizer to which tokens were added alone: the model's weights know nothing of them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from calltune.cli import main


@pytest.fixture
def added(tiny_model: Path, tmp_path: Path) -> Path:
    """A model whose tokenizer has a token more than its weights."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    tokenizer.add_tokens(["<|new|>"] * 1 + [f"<|{n}|>" for n in range(3072 - len(tokenizer))])
    assert max(tokenizer.get_vocab().values()) >= 3072
    tokenizer.save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize("words", [["sft"], ["dpo", "stages=['dpo']"], ["check"], ["evaluate", "stages=[]"]])
@pytest.mark.parametrize("where", ["pad", "template"])
def test_a_token_without_an_embedding_is_one_line(
    where: str, words: list[str], added: Path, write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(str(added))
    newest = tokenizer.convert_ids_to_tokens(max(tokenizer.get_vocab().values()))
    if where == "pad":
        settings = json.loads((added / "tokenizer_config.json").read_text()) | {"pad_token": newest}
        (added / "tokenizer_config.json").write_text(json.dumps(settings))
    else:
        template = (added / "chat_template.jinja").read_text()
        (added / "chat_template.jinja").write_text(newest + template)
    verb, *overrides = words
    file = write_run_file(model=added)
    assert main(["prepare", str(file), *overrides]) == 0
    capsys.readouterr()
    assert main([verb, str(file), *overrides]) == 2
    error = capsys.readouterr().err
    assert f"calltune: model '{added}': its tokenizer writes '{newest}' as token 3,072" in error
    assert error.endswith("and its weights know 3,072\n")


def test_tokens_that_nobody_writes_are_left_in_peace(added: Path, write_run_file: Callable[..., Path]) -> None:
    """A model of text may share its tokenizer with one that sees images."""
    file = write_run_file(model=added)
    for words in (["prepare"], ["evaluate", "stages=[]"]):
        assert main([words[0], str(file), *words[1:]]) == 0
