"""Who writes into a run's folder: alive, dead, elsewhere, with another clock; the owners are real processes."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from calltune.errors import RunFolderError
from calltune.files.lock_file import LOCK, Owner, this_process
from calltune.files.owner import take

HOLD = """
import os, sys, time
from pathlib import Path
from calltune.files.owner import take

held = take(Path(sys.argv[1]), "calltune run a.toml", float(sys.argv[2]))
fork = os.fork() if "fork" in sys.argv else None
if not fork:
    print("held", flush=True)
if fork == 0:
    time.sleep(10)
    os._exit(0)
sys.stdin.read()
held.release()
"""
DAYS_400 = 400 * 86_400
PACE = 0.1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "toy"


class Other:
    """Another process that owns the folder."""

    def __init__(self, folder: Path, *words: str, pace: float = 10.0) -> None:
        script = [sys.executable, "-W", "ignore", "-c", HOLD, str(folder), str(pace), *words]
        self.process = subprocess.Popen(
            script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        assert self.process.stdout.readline() == "held\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        self.process.communicate("")


@pytest.fixture
def other(folder: Path) -> Iterator[Other]:
    owner = Other(folder)
    yield owner
    owner.kill()
    for stream in (owner.process.stdin, owner.process.stdout, owner.process.stderr):
        if stream:
            stream.close()


def leave(folder: Path, owner: Owner, age: float = 0.0) -> Path:
    """What an owner left, whose last sign of life came `age` seconds ago."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LOCK).write_text(json.dumps(asdict(owner)))
    os.utime(folder / LOCK, (time.time() - age,) * 2)
    return folder / LOCK


def elsewhere() -> Owner:
    """An owner on another machine, whose numbers mean nothing here."""
    return replace(this_process("calltune run b.toml", True), host="node7", kernel="another", token="theirs")


def test_the_second_is_told_who_holds_it_and_gets_it_afterwards(folder: Path, other: Other) -> None:
    held = json.loads((folder / LOCK).read_text())
    with pytest.raises(RunFolderError) as error:
        take(folder, "calltune sft a.toml")
    who = rf"'calltune run a\.toml' \(process {other.process.pid} of \S+ on \S*, since \d{{4}}-\d\d-\d\d \S+\)"
    assert re.fullmatch(rf"{folder}: is in use by {who}; wait for its end, or end it", str(error.value))
    assert json.loads((folder / LOCK).read_text()) == held
    other.end()
    assert not folder.exists()
    take(folder, "calltune sft a.toml").release()


def test_a_killed_owner_leaves_nothing_in_the_way(
    folder: Path, other: Other, capsys: pytest.CaptureFixture[str]
) -> None:
    other.kill()
    held = take(folder, "calltune sft a.toml", PACE)
    said = capsys.readouterr().out
    assert said.startswith(f"{folder}: taken over from 'calltune run a.toml' (process {other.process.pid} of ")
    assert said.endswith("), which is gone\n")
    assert json.loads((folder / LOCK).read_text())["process"] == os.getpid()
    held.release()
    assert not (folder / LOCK).exists()


def test_a_stopped_owner_is_alive(folder: Path, other: Other) -> None:
    other.process.send_signal(signal.SIGSTOP)
    os.utime(folder / LOCK, (0, 0))
    with pytest.raises(RunFolderError, match="is in use by"):
        take(folder, "calltune sft a.toml", PACE)


def test_a_fork_of_a_killed_owner_holds_nothing(folder: Path) -> None:
    owner = Other(folder, "fork")
    with owner.process:
        owner.process.kill()
    take(folder, "calltune sft a.toml", PACE).release()


@pytest.mark.parametrize("days", [-DAYS_400, DAYS_400])
def test_no_clock_makes_a_living_owner_dead(folder: Path, other: Other, days: int) -> None:
    os.utime(folder / LOCK, (time.time() + days,) * 2)
    with pytest.raises(RunFolderError, match="is in use by"):
        take(folder, "calltune sft a.toml", PACE)


@pytest.mark.parametrize("days", [0, -DAYS_400, DAYS_400])
def test_without_the_systems_lock_number_and_start_of_a_process_tell(folder: Path, days: int) -> None:
    running = replace(this_process("calltune run a.toml", False), token="theirs")
    leave(folder, running, days)
    with pytest.raises(RunFolderError, match=f"process {os.getpid()} of"):
        take(folder, "calltune sft a.toml", PACE)
    # Another process has its number now.
    leave(folder, replace(running, started="1"), days)
    take(folder, "calltune sft a.toml", PACE).release()
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    leave(folder, replace(running, process=ended.pid), days)
    take(folder, "calltune sft a.toml", PACE).release()


def test_another_machine_counts_as_alive_while_its_sign_is_fresh(folder: Path) -> None:
    lock = leave(folder, elsewhere(), age=20)
    with pytest.raises(RunFolderError) as error:
        take(folder, "calltune sft a.toml")
    assert "on node7, since" in str(error.value)
    assert str(error.value).endswith(
        f". If you know that it is dead, remove {lock}; without a sign of life for 60 s it is taken over"
    )
    assert "\n" not in str(error.value)
    assert json.loads(lock.read_text())["token"] == "theirs"
    lock.unlink()
    take(folder, "calltune sft a.toml").release()


@pytest.mark.parametrize("age", [3600, DAYS_400, -DAYS_400])
def test_another_machine_that_gives_no_sign_is_dead(folder: Path, age: int, capsys: pytest.CaptureFixture[str]) -> None:
    leave(folder, elsewhere(), age)
    take(folder, "calltune sft a.toml", PACE).release()
    watching, taken = capsys.readouterr().out.splitlines()
    assert watching.endswith("has given no sign of life lately; waiting 0 s for one")
    assert re.search(r"taken over from 'calltune run b\.toml' .* on node7, since .*, which is gone$", taken)


@pytest.mark.parametrize("age", [3600, DAYS_400, -DAYS_400])
def test_another_machine_with_another_clock_is_alive_while_it_gives_signs(folder: Path, age: int) -> None:
    lock = leave(folder, elsewhere(), age)
    over = threading.Event()

    def give_signs() -> None:
        while not over.wait(PACE):
            os.utime(lock, (time.time() - age,) * 2)

    signs = threading.Thread(target=give_signs)
    signs.start()
    try:
        with pytest.raises(RunFolderError, match="on node7"):
            take(folder, "calltune sft a.toml", PACE)
    finally:
        over.set()
        signs.join()


def test_an_owner_gives_signs_of_life(folder: Path) -> None:
    held = take(folder, "calltune run a.toml", PACE)
    os.utime(folder / LOCK, (0, 0))
    time.sleep(4 * PACE)
    assert time.time() - (folder / LOCK).stat().st_mtime < 60
    held.release()


def test_an_owner_whose_lock_was_taken_over_ends(folder: Path) -> None:
    owner = Other(folder, pace=PACE)
    leave(folder, elsewhere())
    assert owner.process.wait(timeout=30) == 2
    said = owner.process.communicate()[1]
    assert said.startswith(f"calltune: {folder}: was taken over by 'calltune run b.toml' (process ")
    assert said.endswith("; this command ends\n")
    assert json.loads((folder / LOCK).read_text())["token"] == "theirs"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"token": 1}', b"\xff\xfe"])
def test_a_lock_that_says_nothing_is_nobodys(folder: Path, content: bytes) -> None:
    folder.mkdir(parents=True)
    (folder / LOCK).write_bytes(content)
    take(folder, "calltune sft a.toml").release()


def test_the_folder_goes_when_nothing_was_written(folder: Path, tmp_path: Path) -> None:
    take(folder, "calltune sft a.toml").release()
    assert list(tmp_path.iterdir()) == []
    held = take(folder, "calltune sft a.toml")
    (folder / "config.json").write_text("{}")
    held.release()
    assert [path.name for path in folder.iterdir()] == ["config.json"]


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"^/proc/nowhere/toy: cannot be written: "):
        take(Path("/proc/nowhere/toy"), "calltune sft a.toml")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=f"{tmp_path}/file: is a file, the run's folder was expected"):
        take(tmp_path / "file", "calltune sft a.toml")
    with pytest.raises(RunFolderError, match="cannot be written: Not a directory"):
        take(tmp_path / "file" / "toy", "calltune sft a.toml")
