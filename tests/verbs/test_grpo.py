"""Reinforcement as a stage of a run, on the shipped tiny model, which calls a tool whatever it is asked."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from calltune.cli import main
from calltune.config.run_file import load_config
from calltune.errors import ConfigError
from calltune.files.manifest import read_manifest

WARM = Path(__file__).parents[2] / "examples" / "tiny-qwen3"
GRPO = """[grpo]
per_device_train_batch_size = 16
num_generations = 4
max_completion_length = 48
max_steps = 3
learning_rate = 1e-3
"""


@pytest.fixture
def run_file(write_run_file: Callable[..., Path]) -> Path:
    top = 'stages = ["grpo"]\nseed = 1'
    file = write_run_file(GRPO, top=top, model=WARM)
    # What is held back shows the mean reward on validation.
    file.write_text(file.read_text().replace("validation_fraction = 0.0", "validation_fraction = 0.1"))
    return file


def test_a_stage_is_trained_measured_reported_and_exported(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(run_file), "grpo.max_steps=-1", "grpo.num_train_epochs=1", "grpo.beta=0.01"]
    assert main(["run", *words]) == 0
    out = capsys.readouterr().out
    assert "grpo: train.jsonl: " in out
    assert "questions are asked; 0 have contradicting answers" in out
    folder = load_config(run_file).run_folder
    manifest = read_manifest(folder / "grpo")
    assert manifest["steps"] == -(-manifest["counts"]["rows"] // 4)
    assert manifest["shared_prefixes"]["token_ratio"] > 1.5
    log = json.loads((folder / "grpo" / "history.json").read_text())["log"]
    steps = [entry for entry in log if "loss" in entry]
    assert len(steps) == manifest["steps"]
    assert all(-1 <= entry["reward"] <= 1 for entry in steps)
    # Four questions a step, one of each behaviour.
    assert all(sum(key.startswith("earned/") for key in entry) == 4 for entry in steps)
    assert any(entry["grad_norm"] > 0 for entry in steps)
    assert any("eval_reward" in entry for entry in log)
    # The warmed-up model calls whatever it is asked, so it earns what calls earn.
    called = sum(entry["earned/tool_call"] for entry in steps) / len(steps)
    assert called > sum(entry["earned/direct"] for entry in steps) / len(steps)
    report = json.loads((folder / "report.json").read_text())
    assert [*report["stages"]] == ["grpo"] or "grpo" in report["stages"]
    assert "grpo: mean reward" in (folder / "report.html").read_text()

    assert main(["grpo", *words]) == 0
    assert "grpo: complete and unchanged, skipped" in capsys.readouterr().out
    assert main(["export", *words]) == 0
    card = (folder / "export" / "README.md").read_text()
    assert "by reinforcement learning from verified answers (GRPO) (full tuning)" in card
    assert "max_completion_length" in card


def test_other_pairs_make_it_anew(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["grpo.max_steps=1", "evaluate.benchmarks=[]"]
    assert main(["prepare", str(run_file), *words]) == 0
    assert main(["grpo", str(run_file), *words]) == 0
    more = [*words, "data.sources.0.num_pairs=20"]
    assert main(["prepare", str(run_file), *more]) == 0
    capsys.readouterr()
    assert main(["grpo", str(run_file), *more]) == 0
    out = capsys.readouterr().out
    assert "skipped" not in out
    # A stage of one step may be over at once, and then no bar is told.
    assert "parameters are trained" in out


def test_it_goes_on_from_the_stage_before(run_file: Path) -> None:
    orders = {
        '["sft","grpo"]': ("base", "sft", "grpo"),
        '["sft","dpo","grpo"]': ("base", "sft", "dpo", "grpo"),
        '["grpo"]': ("base", "grpo"),
    }
    for stages, checkpoints in orders.items():
        config = load_config(run_file, [f"stages={stages}"])
        assert config.checkpoints == checkpoints
        assert config.trained_from("grpo") == checkpoints[-2]
    mined = load_config(run_file, ['stages=["sft","dpo","grpo"]', "mine.rounds=2"])
    assert mined.checkpoints == ("base", "sft", "dpo", "dpo-2", "grpo")
    assert mined.trained_from("grpo") == "dpo-2"
    for wrong in ('["grpo","sft"]', '["grpo","grpo"]', '["dpo","sft"]'):
        with pytest.raises(ConfigError, match='must be some of "sft", "dpo" and "grpo", each once and in this order'):
            load_config(run_file, [f"stages={wrong}"])


def test_without_the_stage_before_it_says_which_is_missing(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(run_file), 'stages=["sft","grpo"]']
    assert main(["prepare", *words]) == 0
    assert main(["grpo", *words]) == 2
    assert "sft" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("grpo.max_length=100", "unknown key 'grpo.max_length'"),
        ("grpo.loss_type=drgrpo", "'grpo.loss_type': unknown loss 'drgrpo', did you mean 'dr_grpo'?"),
        ("grpo.num_generations=3", "generation_batch_size (16) must be divisible by num_generations (3)"),
        ("grpo.use_vllm=true", "'grpo.use_vllm' needs vllm: pip install 'calltune[vllm]'"),
        ("grpo.num_generations=1", "requires at least 2 generations"),
        ("grpo.reward_weights=[1.0]", "Number of reward weights (1) must match number of reward functions (4)"),
    ],
)
def test_a_mistake_in_its_table_is_one_line(
    run_file: Path, capsys: pytest.CaptureFixture[str], word: str, told: str
) -> None:
    assert main(["prepare", str(run_file)]) == 0
    capsys.readouterr()
    assert main(["grpo", str(run_file), word]) == 2
    assert told in capsys.readouterr().err.splitlines()[-1]


def test_check_plans_and_times_it(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(run_file), "grpo.max_steps=40", "evaluate.benchmarks=[]", "plan.probe_seconds=2"]
    assert main(["check", *words, "--time"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "grpo: some real steps, for the time they take" in out
    assert "grpo: 40 steps with 35 questions" in out
    assert "for sft, dpo and grpo" in out
    assert main(["check", *words, "plan.device=H100", "plan.mfu=0.3"]) == 0
    assert main(["check", *words[:3]]) == 0
    assert not (load_config(run_file).run_folder / "grpo").exists()
