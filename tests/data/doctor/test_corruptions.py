"""Faults planted into clean rows: nearly all are found, and hardly any other row is suspected.

A smaller sample of what `tests/material/corruptions.py` measures.
"""

import os
from pathlib import Path

import pytest
from corruptions import FAULTS, made_rows, real_rows, table

SHARED = Path(os.environ.get("CALLTUNE_SHARED_DATA") or Path(__file__).parents[4] / "shared" / "data")


def test_made_up_rows(tmp_path: Path) -> None:
    told = table(made_rows(120), 50, tmp_path)
    assert list(told) == list(FAULTS)
    assert {fault: row["planted"] for fault, row in told.items()} == dict.fromkeys(FAULTS, 50)
    assert {fault: row["share"] for fault, row in told.items() if row["share"] < 0.94} == {}
    assert {fault: row["false_share"] for fault, row in told.items() if row["false_share"]} == {}
    assert {fault: row["on_clean_files"] for fault, row in told.items() if row["on_clean_files"]} == {}


@pytest.mark.skipif(not (SHARED / "traces").is_dir(), reason="the real rows are not at hand (CALLTUNE_SHARED_DATA)")
def test_real_rows(tmp_path: Path) -> None:
    told = table(real_rows(SHARED, 600), 50, tmp_path)
    assert {fault: row["share"] for fault, row in told.items() if row["share"] < 0.9} == {}
    assert {fault: row["false_share"] for fault, row in told.items() if row["false_share"] > 0.02} == {}
    assert {fault: row["on_clean_files"] for fault, row in told.items() if row["on_clean_files"] > 0.02} == {}
