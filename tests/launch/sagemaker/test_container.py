"""The container's entry point: what it says of a failure, and as process 1 at the literal /opt/ml."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_aws import FakeAws
from fake_machine import Event, in_namespaces
from sagemaker_account import sealed

from calltune.config.run_file import Config
from calltune.launch.sagemaker.aws import Aws
from calltune.launch.sagemaker.container import reason
from calltune.launch.sagemaker.fetch import fetch
from calltune.launch.sagemaker.jobs import describe_job
from calltune.launch.sagemaker.plan import make_plan
from calltune.launch.sagemaker.submit import run_stages


def may_unshare() -> bool:
    words = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "true"]
    try:
        return os.geteuid() == 0 and subprocess.run(words, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture
def literal(fake: FakeAws) -> FakeAws:
    """Containers in namespaces of their own, each with its folder bound at /opt/ml."""
    if not may_unshare():
        pytest.skip("mount and PID namespaces are not permitted here")
    Path("/opt/ml").mkdir(parents=True, exist_ok=True)
    fake.jobs.wrap = in_namespaces
    return fake


TRACE = ["Traceback (most recent call last):", '  File "x.py", line 1, in <module>', "    f()"]


@pytest.mark.parametrize(
    ("lines", "code", "text"),
    [
        (["sft: 3 steps", "calltune: rows.jsonl:2: 'tools' is missing"], 2, "rows.jsonl:2: 'tools' is missing"),
        (["calltune: dpo: step 16: it fell", "left over"], 4, "dpo: step 16: it fell"),
        ([*TRACE, "ValueError: bad", "done"], 1, "ValueError: bad\n" + "\n".join(TRACE)),
        ([], -9, "killed by SIGKILL"),
        (["last word"], 7, "exit code 7: last word"),
        ([], 7, "exit code 7: nothing was printed"),
    ],
)
def test_the_reason_of_a_failure(lines: list[str], code: int, text: str) -> None:
    assert reason(lines, code) == text


def test_the_end_of_a_long_traceback_is_kept() -> None:
    text = reason([TRACE[0], *["    deep()"] * 500, '  File "mine.py", line 9', "ValueError: bad"], 1)
    assert text.startswith("ValueError: bad\n")
    assert text.endswith('File "mine.py", line 9')
    assert len(text) <= 1024


def test_it_needs_the_standard_library_alone() -> None:
    file = Path(__file__).parents[3] / "src/calltune/launch/sagemaker/container.py"
    code = f"import runpy, sys; runpy.run_path({str(file)!r}); assert 'calltune' not in sys.modules"
    subprocess.run([sys.executable, "-S", "-I", "-c", code], check=True)


def test_process_1_at_opt_ml_hands_sigterm_on(
    literal: FakeAws,
    aws: Aws,
    prepared: Callable[..., Config],
    toy_package: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def told_its_number(root: Path) -> bool:
        return (root / "checkpoints" / "toy" / "sft" / "checkpoints" / "step.txt").exists()

    literal.jobs.events = [Event("interrupt", told_its_number)]
    config = prepared('stages=["sft"]', "sft.max_steps=15")
    run_stages(aws, config, make_plan(config, toy_package, []), ["sft"])
    text = capsys.readouterr().out
    assert "parent is process 1, output=/opt/ml/checkpoints" in text
    assert text.index("calltune: asked to stop") < text.index("calltune: stopped") < text.index("sft: 15 steps")


def test_two_machines_train_as_one_group_and_stop_when_one_is_told(
    literal: FakeAws, aws: Aws, prepared: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    """Eighty steps, so that an interruption after the fourth has time to come."""
    literal.jobs.events = [Event("interrupt", sealed("sft", 4))]
    config = prepared('stages=["sft"]', "sft.max_steps=80", "sft.save_steps=4", more="instance_count = 2")
    run_stages(aws, config, make_plan(config, requirements=[]), ["sft"])
    text = capsys.readouterr().out
    assert "sft: 1 processes on each of 2 machines (ddp)" in text
    job = describe_job(aws, next(iter(literal.jobs.records)))
    manifest = json.loads((fetch(aws, config, "sft", job) / "manifest.json").read_text())
    assert (manifest["steps"], manifest["inputs"]["processes"]) == (80, 2)
    assert manifest["resumed_from"].startswith("checkpoint-")
    # The first machine was not told.
    assert text.count("calltune: asked to stop") == 1
    assert text.count("calltune: stopped; the next attempt goes on from here") == 2
