"""`calltune try`: the run's questions, a question of one's own, and several turns."""

import base64
import hashlib
import json
import os
import re
import signal
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
import warm

from calltune.cli import main
from calltune.config.run_file import load_config
from calltune.report.page.trying import try_page
from calltune.types import Tool
from calltune.verbs import prepare
from calltune.verbs.export_gguf import own_questions
from calltune.verbs.try_questions import offered

WARM = Path(__file__).parents[2] / "examples" / "tiny-qwen3"


@pytest.fixture
def file(write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> Path:
    file = write_run_file(model=WARM)
    prepare.run(load_config(file))
    capsys.readouterr()
    return file


def told(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    code = main(["try", *map(str, words)])
    out, error = capsys.readouterr()
    return code, out + error


def test_the_first_questions_with_their_right_answers(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = told(capsys, file, "--first", 3)
    assert code == 0
    rows = [json.loads(line) for line in (file.parent / "runs/toy/data/test.jsonl").read_text().splitlines()][:3]
    for number, row in enumerate(rows, start=1):
        part = text.split(f"{number}. {row['correct_answer']}\n")[1].split(f"{number + 1}. ")[0]
        assert row["question"].split()[0] in part
        assert [line.split()[0] for line in part.splitlines() if line[3:4].strip()][-3:] == ["tools", "right", "base"]
        if row["correct_answer"] == "tool_call":
            assert f"{json.loads(row['answers']['tool_call'])['name']}(" in part.split("   right")[1]


def test_one_question_with_the_run_s_tools_or_others(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [tool.name for tool in offered(load_config(file), None).tools]
    code, text = told(capsys, file, "What is the weather in Oslo?")
    assert code == 0
    assert text.startswith(f"tools: {', '.join(names)} (of ")
    assert text.splitlines()[1].startswith("base: ")
    others = file.parent / "tools.json"
    others.write_text('[{"name": "book", "description": "Book.", "parameters": {"type": "object", "properties": {}}}]')
    code, text = told(capsys, file, "--tools", others, "Hello.", "name=toy")
    assert text.startswith(f"tools: book ({others})\nbase: ")
    others.write_text("[]")
    assert told(capsys, file, "Hello.", "--tools", others) == (2, f"calltune: {others}: holds no tools\n")


def test_several_turns(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("= early\nWhat is the weather in Oslo?\nThank you.\n")
    with lines.open() as typed:
        monkeypatch.setattr("sys.stdin", typed)
        code, text = told(capsys, file)
    assert code == 0
    assert "no checkpoint has made a call, so there is nothing for a result to answer" in text
    assert text.count("base: ") == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a", "b"], "try takes one question, not 2; put it in quotes"),
        (["--first", "2", "a question"], "--first N asks the run's own questions"),
        (["--first", "-1"], "--first N asks the run's own questions"),
        (["--port", "80"], "--port goes with --serve"),
        (["--serve", "a question"], "--serve waits for questions"),
        (["--serve", "--port", "99999"], "--port 99999: "),
    ],
)
def test_words_that_do_not_fit(file: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    code, text = told(capsys, file, *words)
    assert code == 2
    assert said in text.splitlines()[-1]


def test_a_run_without_data_says_what_to_do(
    write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = told(capsys, write_run_file(), "Hello.")
    assert code == 2
    assert text.endswith("there is no data of this run yet ('calltune prepare'); or name tools by --tools\n")


def test_a_run_that_held_out_no_questions_has_its_rows(
    write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """`prepare` writes the file of questions then, too, and it is empty."""
    file = write_run_file()
    words = ["data.sources.0.num_questions=0", "evaluate.benchmarks=[]"]
    for more, name in (([], "train.jsonl"), (["data.sources.0.num_examples=0"], "preferences.jsonl")):
        config = load_config(file, [*words, *more])
        prepare.run(config)
        assert (config.run_folder / "data" / "test.jsonl").read_bytes() == b""
        offer = offered(config, None)
        assert offer.tools
        assert offer.origin.endswith(f"training rows ({config.run_folder / 'data' / name})")
        assert len(own_questions(config, 12)) == 12
    capsys.readouterr()
    code, text = told(capsys, file, "--first", 1, *words)
    assert (code, "the run held out no questions, and no benchmark's are in their layout" in text) == (2, True)


def test_it_serves_until_it_is_told_to_end(file: Path) -> None:
    process = warm.Process("-m", "calltune", "try", str(file), "--serve", "--port", "0")
    deadline = time.monotonic() + 60
    while "OpenAI's interface" not in process.printed()[0]:
        assert process.poll() is None, process.printed()
        assert time.monotonic() < deadline, process.printed()
        time.sleep(0.05)
    page, place = (line.split(": ", 1)[1].split(",")[0] for line in process.printed()[0].splitlines()[-2:])
    with urllib.request.urlopen(page) as answer:
        html, policy = answer.read().decode(), answer.headers["Content-Security-Policy"]
    for kind in ("style", "script"):
        inside = re.search(rf"<{kind}>(.*?)</{kind}>", html, re.DOTALL)
        assert inside
        digest = base64.b64encode(hashlib.sha256(inside[1].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert not re.search(r"https?://", html)
    with openai.OpenAI(base_url=place, api_key="none", max_retries=0) as client:
        stream: Any = client.chat.completions.create(
            model="base", messages=[{"role": "user", "content": "Hello."}], stream=True
        )
        next(iter(stream))
        asked = time.monotonic()
        os.kill(process.pid, signal.SIGTERM)
        _, error = process.communicate(timeout=60)
    assert time.monotonic() - asked < 8
    assert process.returncode == 143, error
    assert error.splitlines()[-1] == "calltune: stopped"
    assert "Traceback" not in error


def test_the_page_trusts_no_text() -> None:
    hostile = Tool("</script><img src=x onerror=alert(1)>", "</textarea><script>", {"type": "object"})
    html, _ = try_page("toy", ["</script><b>"], [hostile], "<i>")
    assert html.count("<script") == 2
    assert html.count("</textarea>") == 2
    assert not re.search(r"<(img|b|i)\b", html)
