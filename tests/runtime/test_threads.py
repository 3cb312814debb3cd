"""Threads of a real process that was started with no word about them, and with the user's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from calltune.runtime.threads import available_cores, for_launcher

WORDS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "KMP_BLOCKTIME", "CALLTUNE_OWN_THREADS")
CODE = """
import json, os, sys
from calltune.cli import main
main(["check", "nowhere.toml"])
assert "torch" not in sys.modules
import torch
print(json.dumps([torch.get_num_threads(), *(os.environ.get(name) for name in sys.argv[1:])]))
"""


def started(**given: str) -> list:
    """What a command finds that was started in this environment: torch's threads, and the words about them."""
    rest = {name: value for name, value in os.environ.items() if name not in WORDS}
    command = [sys.executable, "-c", CODE, *WORDS]
    done = subprocess.run(command, env=rest | given, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_without_a_word_there_is_a_thread_for_each_core_and_idle_ones_sleep() -> None:
    threads, *words = started()
    cores = available_cores()
    assert words == [str(cores), None, "PASSIVE", "0", "yes"]
    # MKL takes no more threads than there are cores of their own, where two of ours may be two halves of one.
    assert 1 <= threads <= cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_cores_that_the_process_may_not_use_get_no_thread() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert started()[:2] == [1, "1"]
    finally:
        os.sched_setaffinity(0, before)


def test_the_user_s_own_numbers_win() -> None:
    # Of one thread every machine has as many as are asked for.
    assert started(OMP_NUM_THREADS="1") == [1, "1", None, None, None, None]
    assert started(MKL_NUM_THREADS="2")[1:] == [None, "2", None, None, None]
    assert started(OMP_WAIT_POLICY="ACTIVE")[3] == "ACTIVE"


def test_launch_tools_choose_for_their_processes_where_the_user_did_not() -> None:
    ours = {"CALLTUNE_OWN_THREADS": "yes", "OMP_NUM_THREADS": "4", "OMP_WAIT_POLICY": "PASSIVE"}
    assert for_launcher(ours) == {"OMP_WAIT_POLICY": "PASSIVE"}
    assert for_launcher({"OMP_NUM_THREADS": "4"}) == {"OMP_NUM_THREADS": "4"}


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "80000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu.max": "10000000000 100000"}, None),
        ({}, None),
    ],
)
def test_a_container_s_quota(tmp_path: Path, files: dict[str, str], quota: int | None) -> None:
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\n")
    nowhere = tmp_path / "nowhere"
    assert available_cores(tmp_path) == (quota or available_cores(nowhere))
