"""Whole runs that are killed, whose disk is full, or whose files are changed: one line, and then the same result."""

import json
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import warm

from calltune.cli import main

MATERIAL = Path(__file__).parents[1] / "material"


def test_a_whole_run_is_the_same_after_any_kill() -> None:
    done = warm.run(str(MATERIAL / "disturb_script.py"), "kills", "--count", "4")
    assert done.returncode == 0, done.stderr
    runs = json.loads(done.stdout.splitlines()[-1])["runs"]
    assert sum(len(run["killed_while_writing"]) for run in runs) == 4
    assert all(run["differences"] == run["left_over"] == [] for run in runs)


def test_no_change_of_a_file_ends_in_a_traceback() -> None:
    done = warm.run(str(MATERIAL / "mutation_script.py"), "--count", "48", "--seed", "7", "--limit", "30")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["bad"] == 0, done.stdout


@pytest.mark.parametrize(("verb", "bound"), [("prepare", 2_000), ("evaluate", 300), ("report", 3_000)])
def test_a_full_disk_is_one_line_in_every_verb(
    verb: str, bound: int, write_run_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bound on file sizes fails writes as a full disk does."""
    words = [str(write_run_file()), "stages=[]"]
    for earlier in ("prepare", "evaluate", "report"):
        if earlier == verb:
            break
        assert main([earlier, *words]) == 0
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bound, hard))
    try:
        assert main([verb, *words]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert capsys.readouterr().err.endswith(f"calltune: {tmp_path}/runs/toy: cannot be written: File too large\n")
    assert main([verb, *words]) == 0
