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
    with ProgressBar("sft", total=5, done=2) as bar:
        bar.advance(2, "loss 0.5")
        bar.advance()
    assert capsys.readouterr().out == "sft: 5/5 after 0 s loss 0.5\n"
