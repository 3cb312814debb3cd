"""`--json`: one object on stdout and nothing else, the same exit codes, and a mistake is an object too."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from planted_run import plant_run, run_file

from calltune.cli import main
from calltune.config.run_file import load_config
from calltune.files.json_lines import write_json
from calltune.runtime.told import listening, program_listens
from calltune.verbs.as_json import tell_outcome
from calltune.verbs.parser import build_parser

SOURCE = Path(__file__).parents[2] / "src"


def told(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[dict[str, Any], str]:
    """The object that a verb prints, and what stands on stderr."""
    capsys.readouterr()
    try:
        code = main([*map(str, words), "--json"])
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    (line,) = out.splitlines()
    answer = json.loads(line)
    assert answer["exit_code"] == code
    assert not program_listens()
    return answer, err


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    folder = plant_run(tmp_path / "toy", 80, {"base": 0.1, "sft": 0.9, "dpo": 0.4})
    file = run_file(folder)
    write_json(folder / "config.json", load_config(file).model_dump(mode="json"))
    return file


def test_every_verb_has_it_but_those_that_print_something_else() -> None:
    (verbs,) = [action.choices for action in build_parser()._actions if isinstance(action.choices, dict)]
    without = {verb for verb, words in verbs.items() if "--json" not in words.format_help()}
    assert without == {"mcp", "completion"}


def test_a_report_in_json(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer, err = told(capsys, "report", planted)
    assert (answer["verb"], answer["exit_code"]) == ("report", 0)
    assert (answer["verdict"]["title"], answer["verdict"]["better"]) == ("Ship sft, not dpo", "sft")
    assert answer["next"] == f"calltune export {planted} export.checkpoint=sft"
    assert Path(answer["page"]).is_file()
    assert {row["checkpoint"] for row in answer["results"]} == {"base", "sft", "dpo"}
    assert [table["columns"][1] for table in answer["tables"]] == ["questions"]
    # People are told the same as ever, elsewhere.
    assert err.startswith("Ship sft, not dpo: ")
    assert answer["lines"][0] in err


def test_a_run_tells_of_its_own_stages_alone(planted: Path) -> None:
    folder = planted.parent / "toy"
    for name in ("sft.old-1", "somebody"):
        (folder / name).mkdir()
        (folder / name / "manifest.json").write_text("[]")
    (folder / "mined").mkdir()
    write_json(folder / "mined" / "manifest.json", {"inputs": {}, "counts": {"pairs": 3}})
    with listening() as heard:
        tell_outcome(load_config(planted, ["mine.rounds=1"]), "run")
    assert heard.facts["stages"].keys() == {"data", "mined", "sft", "dpo"}
    assert heard.facts["stages"]["mined"]["counts"] == {"pairs": 3}


def test_a_broken_gate_is_an_object_with_the_report(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planted.write_text(planted.read_text() + '[gate]\nrules = ["when2call.acc_norm >= 0.99"]\n')
    answer, err = told(capsys, "report", planted)
    assert answer["exit_code"] == 3
    assert answer["error"].startswith("gate: dpo breaks 1 of 1 rules")
    assert answer["gate"]["passed"] is False
    assert err.endswith(f"calltune: {answer['error']}\n")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["chek", "x.toml"], "unknown verb 'chek', did you mean 'check'?"),
        (["report", "--fulll"], "the following arguments are required: run.toml"),
        (["check", "nowhere.toml"], "nowhere.toml: no such run file"),
        (["audit", "nowhere.jsonl"], "nowhere.jsonl: no such"),
        (["list", "nowhere"], "nowhere: no such folder of runs"),
        (["init", "nowhere"], "nowhere: no such file or folder of logs"),
    ],
)
def test_a_mistake_is_an_object(
    words: list[str], error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    answer, err = told(capsys, *words)
    assert (answer["verb"], answer["exit_code"]) == (words[0], 2)
    assert answer["error"].startswith(error)
    assert err == f"calltune: {answer['error']}\n"


def test_what_is_told_of_logs_and_runs(planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"messages": [{"role": "user", "content": f"Hi {n}"}, {"role": "assistant", "content": "Hello"}], "tools": []}
        for n in range(30)
    ]
    logs = tmp_path / "logs.jsonl"
    logs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    answer, _ = told(capsys, "audit", logs)
    assert (answer["rows"], answer["next"]) == (30, f"calltune init {logs}")
    answer, err = told(capsys, "init", "quickstart", "-o", tmp_path / "mine.toml")
    assert answer["next"] == f"calltune check {answer['run_file']}"
    assert Path(answer["run_file"]).is_file()
    assert "wrote " in err
    assert answer["lines"] == err.splitlines()
    answer, _ = told(capsys, "list", tmp_path)
    assert [(run["name"], run["metric"]) for run in answer["runs"]] == [("toy", "")]


def test_check_tells_notes_and_what_is_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(__file__).parents[2] / "examples" / "quickstart.toml"
    answer, _ = told(capsys, "check", file, f"output={tmp_path}", "sft.learnig_rate=1", "data.sources.0.name=when3call")
    assert answer["exit_code"] == 2
    assert "did you mean" in answer["error"]
    answer, err = told(capsys, "check", file, f"output={tmp_path}")
    assert answer["exit_code"] == 0, err
    assert {note["level"] for note in answer["remarks"]} >= {"info"}
    assert answer["next"].startswith(f"calltune run {file}")


def test_watch_looks_once(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer, _ = told(capsys, "watch", planted)
    assert (answer["command"], answer["doing"]) == (None, "")
    assert "dpo on when2call" in answer["stages"]


def test_try_takes_a_question_with_it(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ((), ("--serve",)):
        answer, _ = told(capsys, "try", planted, *words)
        assert answer["error"] == "--json prints one object, so it goes with a question, or with --first N"


def test_what_the_processes_print_stands_on_stderr(tmp_path: Path) -> None:
    # The description itself, not Python's object, is what processes inherit.
    script = (
        "import subprocess, sys\n"
        "from calltune.verbs.as_json import in_json\n"
        "with in_json('check') as outcome:\n"
        "    print('of Python')\n"
        "    subprocess.run([sys.executable, '-c', \"print('of a child')\"], check=True)\n"
        "    outcome.exit_code = 0\n"
        "print('after it')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    first, second = done.stdout.splitlines()
    assert json.loads(first)["exit_code"] == 0
    assert second == "after it"
    assert sorted(done.stderr.splitlines()) == ["of Python", "of a child"]


def test_who_reads_no_more_is_no_fault(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    for verb, code in (("list", 0), ("lsit", 2)):
        words = [sys.executable, "-m", "calltune", verb, str(tmp_path), "--json"]
        done = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert not any(word in done.stderr for word in ("Traceback", "BrokenPipe"))
    os.close(writing)


def test_a_fault_of_its_own_is_an_object_and_goes_on_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    from calltune.verbs.as_json import in_json

    with pytest.raises(KeyError), in_json("check"):
        raise KeyError("x")
    answer = json.loads(capsys.readouterr().out)
    assert (answer["exit_code"], answer["error"]) == (
        1,
        "a fault of calltune's own: KeyError; stderr has its traceback",
    )


def test_a_whole_run_and_one_of_its_stages(
    write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [write_run_file(), "stages=['sft']", "sft.max_steps=1", "evaluate.checkpoints=['sft']"]
    answer, err = told(capsys, "run", *words)
    assert answer["exit_code"] == 0, err
    assert answer["stages"].keys() == {"data", "sft"}
    assert answer["stages"]["sft"]["steps"] == 1
    assert [row["checkpoint"] for row in answer["results"]] == ["sft"] * len(answer["results"])
    assert answer["verdict"]["word"] == "Too few questions"
    # A log's reader sees of each line which stage it is of, and no line is written over.
    # What is over at once is not mentioned, as the evaluation of eight questions may be.
    named = [line.partition(":")[0] for line in err.splitlines() if not line.startswith("[transformers]")]
    stages = [stage for stage in dict.fromkeys(named) if stage != "evaluate"]
    assert stages == ["check", "prepare", "sft", "report"], err
    assert "\r" not in err
    answer, err = told(capsys, "sft", *words)
    assert (answer["manifest"]["steps"], Path(answer["folder"]).name) == (1, "sft")
    assert "sft: complete and unchanged, skipped\n" in err
    answer, _ = told(capsys, "evaluate", *words)
    assert {row["checkpoint"] for row in answer["results"]} == {"sft"}
