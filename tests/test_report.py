import json
from collections.abc import Callable
from pathlib import Path

import pytest

from calltune import report
from calltune.config import load_config
from calltune.errors import RunFolderError
from calltune.rows import write_json

RESULT = {
    "benchmark": "when2call",
    "prompt": "chat_template",
    "num_samples": 8,
    "num_correct": 4,
    "num_wrong": 4,
    "num_malformed": 0,
    "num_truncated": 0,
    "num_errors": 0,
    "primary_metric": "acc_norm",
    "metrics": {"acc": 0.25, "acc_norm": 0.5, "hallucination_rate": None},
    "intervals": {"acc_norm": [0.2, 0.8]},
}


def test_the_ladder(write_run_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "runs" / "toy"
    for checkpoint in ("base", "dpo"):
        place = folder / "eval" / checkpoint / "when2call"
        write_json(place / "result.json", {**RESULT, "checkpoint": checkpoint})
        write_json(place / "manifest.json", {})
    # Not finished, so not reported.
    write_json(folder / "eval" / "sft" / "when2call" / "result.json", {**RESULT, "checkpoint": "sft"})
    path = report.run(load_config(write_run_file()))
    written = json.loads(path.read_text())
    assert [result["checkpoint"] for result in written["results"]] == ["base", "dpo"]
    shown = capsys.readouterr().out
    assert "0.500 (0.200-0.800)" in shown
    assert shown.index("acc_norm") < shown.index("acc ")
    assert "sft" not in shown


def test_nothing_to_report(write_run_file: Callable[..., Path]) -> None:
    with pytest.raises(RunFolderError, match="nothing was evaluated yet"):
        report.run(load_config(write_run_file()))
