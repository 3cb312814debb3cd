"""The benchmark of a GPU, run whole on a CPU: it must not be tried for the first time where an hour costs money."""

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "bench" / "gpu.py"

# What cannot be measured on a CPU, or without somebody's files, by a word of its reason.
SKIPPED = {"Liger": "a GPU's", "compiled": "a GPU's", "float32 weights": "", "SmolLM2": "--smollm2"}


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the clock and the record."""
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    from material import gpu_record

    return gpu_record


def run(*words: str) -> str:
    """What it prints."""
    done = subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def no_number(text: str) -> float:
    raise AssertionError(f"{text} is no number of JSON")


def read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"), parse_constant=no_number)


@pytest.mark.timeout(600)
def test_a_dry_run_measures_everything(tmp_path: Path) -> None:
    """A minute of a CPU: every variant is measured, or says why not, and the losses of all ways are the same."""
    printed = run("--dry", "--out", str(tmp_path), "--limit", "480")
    found = read(tmp_path / "gpu.json")
    *lines, last = printed.splitlines()
    summary = json.loads(last, parse_constant=no_number)
    assert [row["number"] for row in found["variants"]] == list(range(1, len(found["variants"]) + 1))
    for row in found["variants"]:
        word = next((word for key, word in SKIPPED.items() if key in row["name"]), None)
        if word is None or row["status"] == "measured":
            assert row["status"] == "measured", row
        else:
            assert row["status"] == "skipped", row
            assert word in row["reason"], row
    # Steps that train by each way, in stages of both kinds, by TRL too; and questions.
    differences = found["losses_differ_by"]
    assert {"dpo 2", "sft 2", "agent 4", "four choices 4"} <= differences.keys()
    assert max(differences.values()) <= 1e-4
    for batches in ("dpo 2", "sft 2"):
        rows = [row for row in found["variants"] if row.get("batches") == batches]
        assert {row.get("way") for row in rows} >= {"blocks", "varlen", "flex"}
        assert len({round(loss, 3) for row in rows for loss in row["losses"]}) > 1
    for row in found["variants"]:
        if "ideal_seconds" in row:
            assert 0 < row["ideal_seconds"] < row["seconds_at_40_percent"] < row["seconds"]
    table = [line for line in lines if line[:3].strip().isdigit()]
    assert len(table) >= len(found["variants"])
    assert summary["name"] == "gpu"
    assert summary["failed"] == []
    assert math.isfinite(summary["ratio"])
    assert summary["versions"]["torch"]
    assert not (tmp_path / "work").exists(), "models are left behind"


def test_a_variant_that_takes_too_long_is_skipped(tmp_path: Path, record: Any) -> None:
    kept = record.Record(tmp_path / "gpu.json", {}, limit=20.0)
    kept.measure(1, record.Variant("short", 2, lambda: {"seconds": 1.0}), None)
    kept.measure(2, record.Variant("long", 30, lambda: {"seconds": 1.0}), None)
    kept.measure(3, record.Variant("not asked for", 1, lambda: {"seconds": 1.0}), "it was not asked for")
    rows = read(tmp_path / "gpu.json")["variants"]
    assert [row["status"] for row in rows] == ["measured", "skipped", "skipped"]
    assert "it takes about 30 s" in rows[1]["reason"]


def test_the_clock_ends_a_variant(tmp_path: Path, record: Any) -> None:
    kept = record.Record(tmp_path / "gpu.json", {}, limit=1.5)
    begun = time.monotonic()
    kept.measure(1, record.Variant("endless", 0, lambda: {"seconds": time.sleep(60)}), None)
    assert time.monotonic() - begun < 20
    assert read(tmp_path / "gpu.json")["variants"][0]["reason"] == "the time was up before it ended"


def test_a_failed_variant_stops_no_other(tmp_path: Path, record: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> dict[str, Any]:
        raise RuntimeError("no kernel image\nis available")

    def skips() -> dict[str, Any]:
        raise record.Skip("there is none here")

    kept = record.Record(tmp_path / "gpu.json", {}, limit=60.0)
    runs = {
        "fails": fails,
        "skips": skips,
        "nan": lambda: {"losses": [1.0, math.nan]},
        "runs": lambda: {"seconds": 2.0},
    }
    for number, (name, work) in enumerate(runs.items(), start=1):
        kept.measure(number, record.Variant(name, 1, work), None)
        assert len(read(tmp_path / "gpu.json")["variants"]) == number
    rows = read(tmp_path / "gpu.json")["variants"]
    assert [row["status"] for row in rows] == ["failed", "skipped", "failed", "measured"]
    assert rows[0]["reason"] == "RuntimeError: no kernel image"
    assert rows[2]["reason"] == "not finite: losses[1]"
    text = record.table(rows)
    assert "failed: RuntimeError: no kernel image" in text
    assert "skipped: there is none here" in text


def test_losses_that_differ_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import gpu

    rows = [
        {"status": "measured", "batches": "dpo 2", "losses": [2.0, 4.0]},
        {"status": "measured", "batches": "dpo 2", "losses": [2.0, 4.4]},
        {"status": "skipped", "batches": "dpo 2", "losses": [9.0, 9.0]},
        {"status": "measured", "batches": "sft 2", "losses": [1.0]},
    ]
    assert gpu.agreement(rows) == {"dpo 2": pytest.approx(0.1), "sft 2": 0.0}


def test_without_a_gpu_it_says_what_runs_on_a_cpu(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--out", str(tmp_path)],
        env={"CUDA_VISIBLE_DEVICES": "", "PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("there is no GPU; --dry runs everything on a CPU, small")
