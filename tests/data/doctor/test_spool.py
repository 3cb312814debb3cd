"""Rows that wait on disk until it is known what is asked."""

from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from toy_calls import BOOK, call, user

from calltune.data.doctor.spool import RowSpool
from calltune.errors import RunFolderError
from calltune.types import Example, Preference, Rejected

ROWS = [
    (
        0,
        Example(
            "a", "s", (user("Zürich \ud83d"), call("book_table", city="Rome", n=[1, None, 2.5])), (BOOK,), "tool_call"
        ),
    ),
    (0, Rejected("f:2", "s", "no row", {"a": float("inf")})),
    (3, Preference("b", "s", (user("q"),), (), user("x"), user("y"), "direct", "a", "rule")),
]


def nested(depth: int) -> Any:
    return reduce(lambda inner, _: [inner], range(depth), None)


def test_rows_come_back_as_they_were_in_their_order(tmp_path: Path) -> None:
    deep = (1, Rejected("f:3", "s", "too deep", nested(100_000)))
    with RowSpool(tmp_path / "runs" / "toy") as spool:
        for row in (ROWS[0], deep, *ROWS[1:]):
            spool.put(row)
        assert len(spool) == 4
        first, second, *others = spool
        assert second is deep
        assert [first, *others] == ROWS
        assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named() -> None:
    with pytest.raises(RunFolderError, match=r"/proc: cannot be written: "):
        RowSpool(Path("/proc/runs/toy"))
