"""The order in which `check` looks: what is here first, the Hub last."""

from collections.abc import Callable
from pathlib import Path

import pytest

from calltune.cli import main


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.sources=[{name='chat_jsonl', path='none.jsonl'}]", "none.jsonl: no such data file or folder"),
        ("evaluate.benchmarks=[{name='when2call', path='none.jsonl'}]", "none.jsonl"),
        ("sft.learnig_rate=1", "run.toml: unknown key 'sft.learnig_rate'"),
    ],
)
def test_the_hub_is_asked_when_all_else_is_right(
    override: str, message: str, write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(write_run_file()), "model=of/nobody", override]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Hub" not in shown.out + shown.err


def test_a_model_of_the_hub_is_told_after_the_questions_and_a_folder_before(
    write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(write_run_file())
    assert main(["check", file, "model=of/nobody"]) == 2
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1] == "check: 8 questions of 2 benchmarks can be read"
    assert "the Hugging Face Hub did not give its tokenizer: it" in shown.err
    assert main(["check", file, "plan.probe_seconds=0"]) == 0
    said = capsys.readouterr().out
    assert said.index("passes its proof") < said.index("questions of 2 benchmarks")
