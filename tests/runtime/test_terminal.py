import os
import pty
import subprocess
import sys
import time

import pytest

from calltune.runtime.terminal import ProgressBar, say, show_table, working_on


def test_text_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    say("a tool called [bold]x[/bold] " + "y" * 300)
    assert capsys.readouterr().out == "a tool called [bold]x[/bold] " + "y" * 300 + "\n"
    say("rows.jsonl:key:812 :smile:")
    assert capsys.readouterr().out == "rows.jsonl:key:812 :smile:\n"


def test_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("title", ("", "base"), [("acc", "0.5"), ("[red]a:key:b", "[bold]1")])
    shown = capsys.readouterr().out
    assert "title" in shown
    assert "0.5" in shown
    assert "[red]a:key:b" in shown
    assert "[bold]1" in shown


def test_a_pipe_gets_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar("sft", total=5000, done=2000) as bar:
        bar.advance(2000, "loss 0.5")
        bar.advance(1000)
        time.sleep(2.1)
    assert capsys.readouterr().out == "sft: 5,000/5,000 after 2 s loss 0.5\n"


def test_a_line_is_not_said_twice(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 11.0, 11.0, 11.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    with ProgressBar("sft", total=5) as bar:
        bar.advance(5)
    assert capsys.readouterr().out == "sft: 5/5 after 11 s\n"


@pytest.mark.parametrize(("no_color", "is_colored"), [("", True), ("1", False)])
def test_a_terminal_has_color_unless_it_is_not_wanted(no_color: str, is_colored: bool) -> None:
    ours, theirs = pty.openpty()
    code = "from calltune.runtime.terminal import show_marked; show_marked([('a ', False), ('trained', True)])"
    environment = os.environ | {"NO_COLOR": no_color, "TERM": "xterm-256color"}
    subprocess.run([sys.executable, "-c", code], stdout=theirs, env=environment, check=True)
    shown = os.read(ours, 1000).decode()
    assert ("\x1b[1;32mtrained" in shown) == is_colored
    assert (">>>trained<<<" in shown) != is_colored


def test_what_is_over_at_once_is_not_mentioned(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar("reading", total=None) as bar:
        bar.advance()
    assert capsys.readouterr().out == ""


def test_what_went_on_from_the_middle_tells_its_end_however_soon_it_comes(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar("sft", total=5, done=4) as bar:
        bar.advance(1, "loss 0.5")
    assert capsys.readouterr().out == "sft: 5/5 after 0 s loss 0.5\n"
    with ProgressBar("sft", total=5, done=5):
        pass
    assert capsys.readouterr().out == "sft: 5/5 after 0 s\n"


def test_one_of_several_processes_speaks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    say("hello")
    assert capsys.readouterr().out == ""


def test_in_a_log_each_line_begins_with_its_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with working_on("sft"):
        say("sft: 3 rows")
        say("")
        say("two\nlines")
        show_table("sizes", ("", "rows"), [("train", "3")])
        with working_on("dpo"):
            say("[1, 2] words")
        say("again")
        script = "from calltune.runtime.terminal import say; say('of a process begun meanwhile')"
        done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    say("after it")
    say("")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["sft: 3 rows", "sft: two", "sft: lines"]
    assert lines[-4:] == ["dpo: [1, 2] words", "sft: again", "after it", ""]
    table = lines[3:-4]
    assert [line.split(": ")[0] for line in table] == ["sft"] * 6
    assert (table[0], "train" in table[4]) == ("sft: sizes", True)
    assert done.stdout == "sft: of a process begun meanwhile\n"
