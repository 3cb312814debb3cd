"""`calltune watch`: what a run's folder tells while the run goes on, and that nothing of it is touched."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import warm

from calltune.cli import main
from calltune.config.run_file import Config, load_config
from calltune.files.json_lines import write_json
from calltune.files.owner import take
from calltune.files.state import STEPS_NOW
from calltune.verbs import prepare
from calltune.verbs.watch import headline, lines_of
from calltune.verbs.watch_state import Watcher, working_command


@pytest.fixture
def config(write_run_file: Callable[..., Path]) -> Config:
    config = load_config(write_run_file())
    prepare.run(config)
    return config


def state_of(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


def test_a_stage_that_trains(config: Config) -> None:
    note = config.run_folder / "sft" / "checkpoints" / STEPS_NOW
    note.parent.mkdir(parents=True)
    write_json(note, {"step": 30, "steps": 100, "begun_from": 20, "seconds": 600.0, "loss": 0.5})
    held = take(config.run_folder, "calltune run run.toml")
    try:
        before = state_of(config.run_folder)
        seen = Watcher(config).look()
        assert state_of(config.run_folder) == before
    finally:
        held.release()
    assert seen.command == "calltune run run.toml"
    assert seen.stages == ("data",)
    # Ten steps took ten minutes, however slow each of them was.
    assert seen.seconds_left == pytest.approx(70 * 60, abs=5)
    assert headline(seen) == "training sft: 30 of 100, loss 0.500, about 70 min left"
    # A half minute later that much less is left.
    os.utime(note, (time.time() - 30,) * 2)
    assert Watcher(config).look().seconds_left == pytest.approx(70 * 60 - 30, abs=5)


def test_an_evaluation_with_its_first_answers(config: Config) -> None:
    place = config.run_folder / "eval" / "base" / "when2call_generation"
    place.mkdir(parents=True)
    write_json(place / "inputs.json", {})
    os.utime(place / "inputs.json", (time.time() - 20,) * 2)
    rows = [json.loads(line) for line in (config.run_folder / "data" / "test.jsonl").read_text().splitlines()]
    call = {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": {"a": "\x1b[2J"}}]}
    answer = {"sample_id": rows[0]["uuid"], "message": call, "text": "<tool_call>", "status": "ok"}
    other = {"sample_id": rows[1]["uuid"], "message": None, "text": "x", "status": "truncated", "reason": "no end"}
    whole = "".join(json.dumps(row) + "\n" for row in (answer, other))
    (place / "completions.jsonl").write_text(whole + '{"sample_id": "half')
    before = state_of(config.run_folder)
    seen = Watcher(config).look()
    assert state_of(config.run_folder) == before
    assert (seen.done, seen.total) == (2, len(rows))
    assert seen.seconds_left == pytest.approx(10 * (len(rows) - 2), abs=5)
    lines = lines_of(seen)
    assert "asking base when2call_generation: 2 of " in lines[2]
    assert lines[4] == r'    f(a="\u001b[2J")'
    assert lines[6] == "    [truncated] x"


def test_a_run_that_nobody_works_on(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    file = config.run_folder.parents[1] / "run.toml"
    assert main(["watch", str(file)]) == 0
    assert capsys.readouterr().out == f"no command works on {config.run_folder}; complete: data\n"
    assert main(["watch", str(file), "name=other"]) == 2
    assert "there is nothing to watch yet" in capsys.readouterr().err
    assert not (config.run_folder.parent / "other").exists()


def test_it_follows_a_run_to_its_end(write_run_file: Callable[..., Path], tmp_path: Path) -> None:
    file = str(write_run_file())
    working = warm.Process("-m", "calltune", "run", file)
    folder = tmp_path / "runs" / "toy"
    while working_command(folder) is None:
        assert working.poll() is None, working.printed()
        time.sleep(0.02)
    watching, stopped = (warm.Process("-m", "calltune", "watch", file) for _ in range(2))
    while not stopped.printed()[0]:
        assert stopped.poll() is None, stopped.printed()
        time.sleep(0.02)
    os.kill(stopped.pid, signal.SIGTERM)
    out, error = stopped.communicate(timeout=60)
    assert (stopped.returncode, error) == (143, "calltune: stopped\n"), out
    working.communicate()
    out, error = watching.communicate(timeout=60)
    assert (working.returncode, watching.returncode) == (0, 0), error
    assert f"calltune run {file}: between stages" in out or ": " in out.splitlines()[0]
    last = out.splitlines()[-2:]
    assert last[0].startswith(f"no command works on {folder}; complete: data, sft, dpo, base on when2call, ")
    assert last[1] == f"page: {folder}/report.html"
