"""A stop ends every verb within seconds, wherever it is; nothing half written is left, and run again it goes on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import warm
from chat_server import Answer, says, serving
from planted_run import plant_run, run_file
from transformers import Qwen3Config, Qwen3ForCausalLM

from calltune.cli import main
from calltune.runtime.stopping import SECONDS_TO_END

BOUND = SECONDS_TO_END + 5
"""Some seconds more for a machine that is busy."""

SCRIPT = """
import os, signal, sys, tempfile
# A shell that runs tests in the background has SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.stdout.reconfigure(line_buffering=True)
tempfile.tempdir = os.environ["TMPDIR"]
from calltune.cli import main
sys.exit(main())
"""
SLOW_STEP = ["data.sources=[{name='synthetic', num_examples=800, num_pairs=400}]"]
SLOW_KEYS = ("gradient_accumulation_steps=2000", "per_device_train_batch_size=1")
SLOW_STEP += [f"{stage}.{key}" for stage in ("sft", "dpo") for key in SLOW_KEYS]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., warm.Process]]:
    """Begin a verb in a process, and return it when it is in the middle: `is_there` holds of what it has printed."""
    begun = []

    def start(
        verb: str, file: Path, *overrides: str, is_there: Callable[[str], object], after: float = 0.5
    ) -> warm.Process:
        place = tmp_path / "temporary"
        place.mkdir(exist_ok=True)
        words = ["-c", SCRIPT, verb, str(file), *overrides]
        process = warm.Process(*words, environment={**os.environ, "TMPDIR": str(place)})
        begun.append(process)
        deadline = time.monotonic() + 120
        while not is_there(process.printed()[0]):
            assert process.poll() is None, process.printed()
            assert time.monotonic() < deadline, process.printed()
            time.sleep(0.005)
        time.sleep(after)
        assert process.poll() is None, process.printed()
        return process

    yield start
    for process in begun:
        if process.poll() is None:
            process.kill()
            process.communicate()


def stop(process: warm.Process, verb: str, number: int = signal.SIGTERM, bound: float = BOUND) -> str:
    """Send the signal, look how the process ends, and return what it printed."""
    asked = time.monotonic()
    os.kill(process.pid, number)
    out, error = process.communicate(timeout=120)
    assert time.monotonic() - asked < bound, (out, error)
    assert process.returncode == 128 + number, (out, error)
    assert error.splitlines()[-1].startswith(f"calltune: interrupted; 'calltune {verb} ")
    assert "Traceback" not in error
    return out


def whole(folder: Path, *appended: str) -> list[str]:
    """The files of a run, each read; a kill may cut the last line of those that are appended to."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        assert path.name[0] != ".", path
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".jsonl":
            lines = path.read_text().splitlines()
            for line in lines[:-1] if path.name in appended else lines:
                json.loads(line)
        found.append(str(path.relative_to(folder)))
    return found


def test_prepare_and_its_workers(write_run_file: Callable[..., Path], tmp_path: Path) -> None:
    rows = "data.sources=[{name='synthetic', num_examples=200000}]"
    # Not forked from one that has torch, as then it would have no workers.
    process = subprocess.Popen(
        [sys.executable, "-m", "calltune", "prepare", str(write_run_file()), rows],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    inside: list[psutil.Process] = []
    while len(inside) < 2:
        assert process.poll() is None, process.communicate()
        inside = psutil.Process(process.pid).children(recursive=True)
        time.sleep(0.02)
    time.sleep(1)
    asked = time.monotonic()
    process.terminate()
    _, error = process.communicate(timeout=60)
    assert time.monotonic() - asked < BOUND
    assert process.returncode == 143, error
    assert error.splitlines()[-1].startswith("calltune: interrupted; 'calltune prepare ")
    assert psutil.wait_procs(inside, timeout=30)[1] == []
    assert not (tmp_path / "runs" / "toy" / "data" / "manifest.json").exists()
    assert not list(tmp_path.glob("runs/toy/data/*.jsonl"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_check_while_it_takes_time(
    number: int, write_run_file: Callable[..., Path], begin: Callable[..., warm.Process], tmp_path: Path
) -> None:
    words = [*SLOW_STEP, "plan.probe_seconds=600", "stages=['sft']"]
    process = begin("check", write_run_file(), "--time", *words, is_there=lambda out: "some real steps" in out, after=2)
    stop(process, "check", number)
    assert list((tmp_path / "temporary").iterdir()) == []
    assert not (tmp_path / "runs").exists()


@pytest.fixture(scope="module")
def slow_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose backward pass over a batch, which torch computes in one call, takes a minute or so."""
    folder = tmp_path_factory.mktemp("slow") / "model"
    shutil.copytree(tiny_model, folder)
    config = Qwen3Config.from_pretrained(str(tiny_model))
    config.hidden_size, config.intermediate_size, config.num_hidden_layers = 256, 1024, 24
    config.layer_types = ["full_attention"] * 24
    Qwen3ForCausalLM(config).save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize("after", [0.2, 3, 12])
def test_check_of_a_slow_model_does_not_wait_for_its_passes(
    after: float,
    slow_model: Path,
    write_run_file: Callable[..., Path],
    begin: Callable[..., warm.Process],
    tmp_path: Path,
) -> None:
    words = [SLOW_STEP[0], f"model={slow_model}", "plan.probe_seconds=60", "stages=['sft']"]
    words += ["sft.per_device_train_batch_size=400", "evaluate.benchmarks=[]"]
    process = begin(
        "check", write_run_file(), "--time", *words, is_there=lambda out: "some real steps" in out, after=after
    )
    # A second, and some for a machine that is busy.
    stop(process, "check", bound=6)
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("verb", ["sft", "dpo", "run"])
def test_training_finishes_its_step_and_goes_on_later(
    verb: str, write_run_file: Callable[..., Path], begin: Callable[..., warm.Process], tmp_path: Path
) -> None:
    stage = "dpo" if verb == "dpo" else "sft"
    words = [f"stages=['{stage}']", f"{stage}.num_train_epochs=30", f"{stage}.save_steps=0.95"]
    file = write_run_file()
    assert main(["prepare", str(file), *words]) == 0
    process = begin(verb, file, *words, is_there=lambda out: "parameters are trained" in out)
    out = stop(process, verb)
    told = [line for line in out.splitlines() if "asked to stop" in line]
    assert told == [
        f"{stage}: asked to stop: the step under way is finished first, and a checkpoint written; a second signal ends "
        "at once, and the stage then goes on from the checkpoint before"
    ]
    folder = tmp_path / "runs" / "toy"
    names = whole(folder)
    assert f"{stage}/manifest.json" not in names
    assert any(name.endswith("/complete.json") for name in names)
    if verb == "run":
        return
    again = warm.run("-m", "calltune", stage, str(file), *words)
    assert (again.returncode, again.stdout.count("resuming from checkpoint-")) == (0, 1), again.stderr
    assert "do not match" not in again.stderr
    assert main(["prepare", str(file), *words, "name=other"]) == 0
    assert warm.run("-m", "calltune", stage, str(file), *words, "name=other").returncode == 0
    for name in ("model.safetensors", "model.safetensors.index.json"):
        pair = [run / stage / name for run in (folder, folder.with_name("other"))]
        if pair[1].exists():
            assert pair[0].read_bytes() == pair[1].read_bytes()


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_a_second_signal_ends_a_long_step(
    stage: str, write_run_file: Callable[..., Path], begin: Callable[..., warm.Process]
) -> None:
    file, words = write_run_file(), [*SLOW_STEP, f"stages=['{stage}']"]
    assert main(["prepare", str(file), *words]) == 0
    process = begin(stage, file, *words, is_there=lambda out: "parameters are trained" in out, after=1)
    os.kill(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + BOUND
    while "a second signal ends at once" not in process.printed()[0]:
        assert process.poll() is None, process.printed()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1)
    assert process.poll() is None
    stop(process, stage)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_evaluate_between_its_batches(
    number: int, write_run_file: Callable[..., Path], begin: Callable[..., warm.Process], tmp_path: Path
) -> None:
    file = write_run_file()
    words = ["data.sources=[{name='synthetic', num_examples=8, num_questions=600}]", "evaluate.checkpoints=['base']"]
    assert main(["prepare", str(file), *words]) == 0
    place = tmp_path / "runs" / "toy" / "eval" / "base" / "when2call"
    process = begin("evaluate", file, *words, is_there=lambda _: (place / "completions.jsonl").exists(), after=0)
    stop(process, "evaluate", number)
    assert "eval/base/when2call/manifest.json" not in whole(tmp_path / "runs" / "toy", "completions.jsonl")


def test_evaluate_while_a_server_says_nothing(
    write_run_file: Callable[..., Path], begin: Callable[..., warm.Process], tmp_path: Path
) -> None:
    hangs = True

    def reply(body: dict) -> Answer:
        return Answer({}, hang=True) if hangs else says(f"of {len(json.dumps(body))} characters")

    file, place = write_run_file(), tmp_path / "runs" / "toy"
    with serving(reply) as server:
        options = f"{{base_url='{server.base_url}', timeout_seconds=600}}"
        words = ["evaluate.backend='openai'", f"evaluate.backend_options={options}", "evaluate.checkpoints=['base']"]
        words += ["evaluate.benchmarks=[{name='when2call_generation', path='{run}/data/test.jsonl'}]"]
        for name in ("toy", "other"):
            assert main(["prepare", str(file), *words, f"name={name}"]) == 0
        stop(begin("evaluate", file, *words, is_there=lambda _: server.requests), "evaluate")
        whole(place)
        hangs = False
        for name in ("toy", "other"):
            assert main(["evaluate", str(file), *words, f"name={name}"]) == 0
    completions = "eval/base/when2call_generation/completions.jsonl"
    assert (place / completions).read_bytes() == (place.with_name("other") / completions).read_bytes()


def test_mine_while_it_draws(
    write_run_file: Callable[..., Path], begin: Callable[..., warm.Process], tmp_path: Path
) -> None:
    file = write_run_file("[mine]\nmax_new_tokens = 2000\nnum_answers = 16\n")
    words = ["stages=['dpo']", "data.sources=[{name='synthetic', num_examples=300, num_pairs=16}]"]
    assert main(["prepare", str(file), *words]) == 0
    process = begin("mine", file, *words, is_there=lambda out: "questions are asked" in out, after=2)
    stop(process, "mine")
    assert not [name for name in whole(tmp_path / "runs" / "toy", "answers.jsonl") if name.startswith("mined/")]


def test_export_while_it_writes(
    write_run_file: Callable[..., Path], begin: Callable[..., warm.Process], tmp_path: Path
) -> None:
    file = write_run_file(f'[export]\nfolder = "{tmp_path}/out/model"\n')
    words = ["stages=['sft']"]
    assert main(["prepare", str(file), *words]) == 0
    assert main(["sft", str(file), *words]) == 0
    out = tmp_path / "out"
    stop(begin("export", file, *words, is_there=lambda _: (out / ".model.partial").exists(), after=0), "export")
    assert list(out.iterdir()) == []
    assert main(["export", str(file), *words]) == 0
    assert [path.name for path in out.iterdir()] == ["model"]


def test_report_while_it_compares(begin: Callable[..., warm.Process], tmp_path: Path) -> None:
    folder = plant_run(tmp_path / "toy", number=2000, skill={"base": 0.3, "sft": 0.8})
    process = begin("report", run_file(folder), is_there=lambda _: True, after=1.5)
    stop(process, "report")
    assert not {"report.json", "report.html"} & {*whole(folder)}


def test_several_processes_that_have_not_begun(
    write_run_file: Callable[..., Path], begin: Callable[..., warm.Process], tmp_path: Path
) -> None:
    file, words = write_run_file(), ["launch.processes=2", "stages=['sft']"]
    assert main(["prepare", str(file), *words]) == 0
    launch = tmp_path / "runs" / "toy" / "launch"
    process = begin("sft", file, *words, is_there=lambda _: (launch / "stderr.log").exists(), after=1)
    inside = psutil.Process(process.pid).children(recursive=True)
    assert inside
    stop(process, "sft")
    assert psutil.wait_procs(inside, timeout=30)[1] == []
