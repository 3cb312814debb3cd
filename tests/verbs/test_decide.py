"""`calltune decide`, the benchmark of its name, and what the export and `try` make of it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import warm

from calltune.calling.layout import tool_dict
from calltune.cli import main
from calltune.config.run_file import load_config
from calltune.deciding.making import usable_decision
from calltune.files.manifest import read_manifest
from calltune.types import BEHAVIORS
from calltune.verbs import prepare
from calltune.verbs.try_questions import offered

WARM = Path(__file__).parents[2] / "examples" / "tiny-qwen3"
HELD_OUT = ["data.validation_fraction=0.5", "data.sources.0.num_examples=120"]
DECIDE = """
[[evaluate.benchmarks]]
name = "decide"
path = "{run}/data/test.jsonl"
"""
QUESTION = "What is the weather in Oslo?"


@pytest.fixture
def file(write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> Path:
    file = write_run_file(DECIDE, model=WARM)
    prepare.run(load_config(file, HELD_OUT))
    capsys.readouterr()
    return file


def told(capsys: pytest.CaptureFixture[str], verb: str, *words: object) -> tuple[int, str]:
    code = main([verb, *map(str, words)])
    out, error = capsys.readouterr()
    return code, out if code == 0 and "--json" in words else out + error


def test_it_is_made_once_and_tells_probabilities(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = told(capsys, "decide", file, *HELD_OUT)
    assert code == 0
    assert re.search(
        r"decide: base: \d+ beginnings of \d+ training answers, \d+ tokens a question; calibrated on ", text
    )
    assert 'is told when a benchmark named "decide" was evaluated' in text
    place = file.parent / "runs" / "toy" / "decide" / "base"
    made = json.loads((place / "decide.json").read_text())
    assert made["num_answers"] == sum(sum(b["counts"].values()) for b in made["beginnings"]) + made["num_left_out"]
    assert made["calibration"]["num_rows"] == made["held_out"]["num_rows"] > 20
    assert "decide.json" in read_manifest(place)["sha256"]
    before = (place / "decide.json").stat().st_mtime_ns
    code, text = told(capsys, "decide", file, QUESTION, "--json", *HELD_OUT)
    assert code == 0
    base = json.loads(text)["checkpoints"]["base"]
    assert sum(base["probabilities"].values()) == pytest.approx(1)
    assert base["behavior"] in BEHAVIORS
    assert (place / "decide.json").stat().st_mtime_ns == before
    code, text = told(capsys, "decide", file, QUESTION, *HELD_OUT)
    assert re.fullmatch(
        r"base: call [01]\.\d\d, ask [01]\.\d\d, refuse [01]\.\d\d, answer [01]\.\d\d.*", text.splitlines()[1]
    )
    # `try` tells it too.
    code, text = told(capsys, "try", file, QUESTION, *HELD_OUT)
    assert re.search(r"\[call [01]\.\d\d, ask", text)


def test_what_cannot_be_used_any_more_is_told_and_stops_nothing(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert usable_decision(load_config(file, HELD_OUT), "base") is None
    assert capsys.readouterr().out == ""
    assert told(capsys, "decide", file, *HELD_OUT)[0] == 0
    assert usable_decision(load_config(file, HELD_OUT), "base")
    server = ["evaluate.backend=openai", 'evaluate.backend_options={base_url="http://localhost:9/v1"}']
    for words, why in (
        (server, 'decide needs evaluate.backend = "hf"'),
        (["evaluate.backend_options.dtype=bfloat16"], "it was made of other weights, rows, template or backend"),
    ):
        assert usable_decision(load_config(file, [*HELD_OUT, *words]), "base") is None
        assert f"base: what it would decide is left out: {why}" in capsys.readouterr().out


def test_other_rows_make_it_anew(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "decide", file, *HELD_OUT)[0] == 0
    other = [HELD_OUT[0], "data.sources.0.num_examples=140"]
    assert main(["prepare", str(file), *other]) == 0
    code, text = told(capsys, "decide", file, *other)
    assert code == 0
    assert "base: rows changed since it was made; the old one is kept as base.old-1" in text


def test_check_tells_before_that_nothing_is_calibrated(
    write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_run_file(DECIDE, model=WARM)
    warning = "decide: not calibrated, as fewer than 20 rows"
    for words, is_told in ((), True), (HELD_OUT, False):
        code, text = told(capsys, "check", file, *words)
        assert (code, warning in " ".join(text.split())) == (0, is_told)


def test_without_held_out_rows_it_says_so(
    write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_run_file(model=WARM)
    code, text = told(capsys, "decide", file)
    assert (code, "there is no data of this run yet ('calltune prepare')" in text) == (2, True)
    prepare.run(load_config(file))
    capsys.readouterr()
    code, text = told(capsys, "decide", file, QUESTION)
    assert code == 0
    assert "not calibrated, as fewer than 20 rows" in text
    assert "(not calibrated)" in text.splitlines()[-1]
    # Probabilities that nobody has held against anything are not shown beside answers.
    assert "[call" not in told(capsys, "try", file, QUESTION)[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a", "b"], "decide takes one question, not 2; put it in quotes"),
        (["--tools", "tools.json"], "--tools goes with a question"),
        (["chat.thinking=on"], "'chat.thinking' is on: a model that thinks first decides after its thought"),
    ],
)
def test_words_that_do_not_fit(file: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    code, text = told(capsys, "decide", file, *HELD_OUT, *words)
    assert code == 2
    assert said in text
    assert not (file.parent / "runs" / "toy" / "decide").exists()


def test_a_server_does_not_decide(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = ["evaluate.backend=openai", 'evaluate.backend_options={base_url="http://localhost:9/v1"}']
    code, text = told(capsys, "decide", file, *HELD_OUT, *server)
    assert code == 2
    assert text.endswith('decide needs evaluate.backend = "hf": the others do not tell how likely tokens are\n')


def test_the_benchmark_measures_it_and_decide_compares(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(file), *HELD_OUT]) == 0
    capsys.readouterr()
    place = file.parent / "runs" / "toy" / "eval" / "base" / "decide"
    result = json.loads((place / "result.json").read_text())
    assert result["num_errors"] == 0
    for name in ("ece", "ece_raw", "brier", "brier_raw", "auroc_call", "aurc", "risk_at_80", "outside"):
        assert 0 <= result["metrics"][name] <= 1, name
    code, text = told(capsys, "evaluate", file, *HELD_OUT)
    assert (code, "base on decide complete and unchanged, skipped" in text) == (0, True)
    code, text = told(capsys, "decide", file, "--json", *HELD_OUT)
    worth = json.loads(text)["checkpoints"]["base"]["evaluated"]
    assert worth["ece"] == result["metrics"]["ece"]
    assert worth["ece_raw"] == result["metrics"]["ece_raw"]
    assert worth["num_questions"] == worth["num_written"] == 8
    assert worth["accuracy_decided"] == result["metrics"]["accuracy"]
    low, high = worth["ece_interval"]
    assert low <= worth["ece"] - worth["ece_raw"] <= high
    assert "right decisions" in told(capsys, "decide", file, *HELD_OUT)[1]
    assert told(capsys, "report", file, *HELD_OUT)[0] == 0


def test_check_times_it(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only = ["stages=[]", 'evaluate.benchmarks=[{name="decide", path="{run}/data/test.jsonl"}]', "plan.probe_seconds=1"]
    code, text = told(capsys, "check", file, "--time", *HELD_OUT, *only)
    assert code == 0, text
    assert "evaluate: some real questions, for the time they take" in text


def test_two_processes_decide_as_one(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only = ['evaluate.benchmarks=[{name="decide", path="{run}/data/test.jsonl"}]']
    assert main(["evaluate", str(file), *HELD_OUT, *only]) == 0
    run = file.parent / "runs" / "toy"
    one = json.loads((run / "eval/base/decide/result.json").read_text())
    for folder in ("eval", "decide"):
        (run / folder).rename(run / f"{folder}-of-one")
    ranks = warm.run_together(2, "-m", "calltune", "evaluate", str(file), *HELD_OUT, *only)
    assert [rank.returncode for rank in ranks] == [0, 0], ranks
    two = json.loads((run / "eval/base/decide/result.json").read_text())
    assert two.pop("metrics") == pytest.approx(one.pop("metrics"))
    assert two == one


def test_an_export_decides_by_its_card_s_own_code(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = file.parent / "runs" / "toy"
    train = [*HELD_OUT, 'stages=["sft"]', "sft.max_steps=2", "sft.learning_rate=1e-3"]
    assert main(["sft", str(file), *train]) == 0
    assert main(["export", str(file), *train]) == 0
    assert "decide.json" not in (run / "export" / "README.md").read_text()
    capsys.readouterr()
    code, text = told(capsys, "decide", file, QUESTION, "--json", *train)
    assert code == 0
    expected = json.loads(text)["checkpoints"]["sft"]
    # What was decided since makes another export.
    assert main(["export", str(file), *train]) == 0
    (code_of_card,) = re.findall(r"```python\n(.*?)\n```", (run / "export" / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(run)
    known: dict[str, Any] = {}
    exec(code_of_card, known)
    tools = [tool_dict(tool) for tool in offered(load_config(file, train), None).tools]
    behavior, likely = known["decide"]([{"role": "user", "content": QUESTION}], tools)
    assert likely == pytest.approx(expected["probabilities"], abs=1e-4)
    assert behavior == expected["behavior"]
