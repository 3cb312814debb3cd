"""A checkpoint behind a server, judged by another model: `calltune evaluate` with a real server on loopback."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chat_server import Answer, label, says, serving

from calltune.cli import main
from calltune.config.run_file import load_config
from calltune.verbs import prepare

JUDGE = """
[[evaluate.benchmarks]]
name = "when2call_judge"
path = "{run}/data/test.jsonl"
[evaluate.benchmarks.judge]
base_url = "%s"
model = "judge"
api_key_env = "CALLTUNE_TEST_KEY"
backoff_seconds = 0.01
max_tries = 2
[evaluate.backend_options]
base_url = "%s"
backoff_seconds = 0.01
max_tries = 2
extra_body = { user = "marked" }
"""
KEY = "sk-planted-secret"


class Play:
    """The student always refuses; the judge sees it, unless the server is down."""

    def __init__(self) -> None:
        self.judge_is_down = self.student_is_down = False

    def __call__(self, body: dict[str, Any]) -> Answer:
        if body["model"] == "judge":
            return Answer("oops", 500) if self.judge_is_down else label("cannot_answer")
        return Answer("oops", 503) if self.student_is_down else says("I can't do that.")


def test_it_fails_goes_on_and_leaks_nothing(
    write_run_file: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CALLTUNE_TEST_KEY", KEY)
    play, place = Play(), tmp_path / "runs" / "toy" / "eval" / "base" / "when2call_judge"
    with serving(play) as server:
        file = write_run_file(JUDGE % (server.base_url, server.base_url))
        # Only the judged benchmark; the others would ask for likelihoods.
        words = [str(file), "evaluate.backend=openai", "evaluate.checkpoints=['base']"]
        prepare.run(load_config(file))
        text = file.read_text()
        begin, end = (
            text.index("[[evaluate.benchmarks]]"),
            text.index('[[evaluate.benchmarks]]\nname = "when2call_judge"'),
        )
        file.write_text(text[:begin] + text[end:])

        play.student_is_down = True
        assert main(["evaluate", *words]) == 2
        assert "8 of 8 questions of when2call_judge could not be answered" in capsys.readouterr().err
        play.student_is_down, play.judge_is_down = False, True
        assert main(["evaluate", *words]) == 2
        assert not (place / "result.json").exists()
        play.judge_is_down = False
        assert main(["evaluate", *words]) == 0

        result = json.loads((place / "result.json").read_text())
        assert result["num_samples"] == 8
        assert result["num_correct"] == 2
        assert result["num_errors"] == 0
        asked = len(server.requests)
        assert main(["evaluate", *words]) == 0
        assert len(server.requests) == asked
        assert {key for key in server.keys if key and "planted" in key} == {f"Bearer {KEY}"}
    shown = capsys.readouterr()
    assert KEY not in shown.out + shown.err
    for path in (tmp_path / "runs").rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()
    # What only its sender knows to be none of others' business.
    holding = [path for path in (tmp_path / "runs").rglob("*") if path.is_file() and b"marked" in path.read_bytes()]
    assert {path.name for path in holding} == {"config.json", "inputs.json", "manifest.json"}
    assert {path.stat().st_mode & 0o077 for path in holding} == {0}


def test_likelihoods_cannot_be_asked_of_a_server(
    write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(Play()) as server:
        options = f'[evaluate.backend_options]\nbase_url = "{server.base_url}"\n'
        file = write_run_file(options)
        prepare.run(load_config(file))
        assert main(["evaluate", str(file), "evaluate.backend=openai"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "log-likelihoods" in error
