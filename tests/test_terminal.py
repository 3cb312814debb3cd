import time

import pytest

from calltune.terminal import ProgressBar, say, show_table


def test_text_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    say("a tool called [bold]x[/bold] " + "y" * 300)
    assert capsys.readouterr().out == "a tool called [bold]x[/bold] " + "y" * 300 + "\n"


def test_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("title", ("", "base"), [("acc", "0.5")])
    shown = capsys.readouterr().out
    assert "title" in shown
    assert "0.5" in shown


def test_a_pipe_gets_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar("sft", total=5000, done=2000) as bar:
        bar.advance(2000, "loss 0.5")
        bar.advance(1000)
        time.sleep(2.1)
    assert capsys.readouterr().out == "sft: 5,000/5,000 after 2 s loss 0.5\n"


def test_what_is_over_at_once_is_not_mentioned(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar("reading", total=None) as bar:
        bar.advance()
    assert capsys.readouterr().out == ""


def test_one_of_several_processes_speaks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    say("hello")
    assert capsys.readouterr().out == ""
