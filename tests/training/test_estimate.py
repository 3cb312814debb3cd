"""What `check` says a run is going to take, beside what the run then took."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from calltune.cli import main
from calltune.config.run_file import Config, load_config
from calltune.errors import ConfigError
from calltune.training import estimate as plan
from calltune.training.estimate import Estimate, duration, plan_training
from calltune.training.recipe import Recipe
from calltune.training.settings import stage_settings
from calltune.training.steady import Budget, is_steady
from calltune.verbs import dpo, prepare, sft

UNEVEN = ["data.sources.0.num_examples=22", "data.sources.0.num_pairs=18"]
RUNS = {
    "as it comes": [],
    "accumulated, with a short last step": [
        *UNEVEN,
        "sft.gradient_accumulation_steps=2",
        "dpo.gradient_accumulation_steps=3",
        "sft.num_train_epochs=1.5",
    ],
    "packed, rows too long left out, a number of steps": [
        *UNEVEN,
        "sft.packing=true",
        "sft.max_length=150",
        "dpo.max_length=150",
        "dpo.max_steps=3",
    ],
    "grouped, with rows to watch": ["data.group_by=conversation", "data.validation_fraction=0.3"],
}


def planned(config: Config, recipe: Recipe = sft.RECIPE) -> Estimate:
    return plan_training(config, stage_settings(config, recipe.stage), recipe)


def manifest(tmp_path: Path, name: str, stage: str) -> dict:
    return json.loads((tmp_path / "runs" / name / stage / "manifest.json").read_text())


@pytest.mark.parametrize(
    ("overrides", "probe"),
    [(keys, 0) for keys in RUNS.values()] + [([*RUNS.values()][-1], 0.01)],
    ids=[*RUNS, "probed"],
)
def test_steps_and_tokens_are_those_of_the_manifest(
    write_run_file: Callable[..., Path], tmp_path: Path, overrides: list[str], probe: float
) -> None:
    file = write_run_file()
    config, trial = (load_config(file, [*overrides, f"name={name}"]) for name in ("toy", "trial"))
    trial = trial.model_copy(update={"plan": trial.plan.model_copy(update={"probe_seconds": probe})})
    for each in (config, trial):
        prepare.run(each)
    for stage in (sft, dpo):
        expected = planned(trial, stage.RECIPE)
        stage.run(config)
        found = manifest(tmp_path, "toy", expected.stage)
        assert (expected.steps, expected.tokens) == (found["steps"], found["counts"]["tokens"])
        assert (expected.rows, expected.left_out) == (found["counts"]["rows"], found["counts"]["rows_too_long"])
        assert (expected.seconds is None) == (probe == 0)


def test_check_tells_time_and_price_and_leaves_nothing_behind(
    write_run_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_run_file()
    assert main(["check", "--time", str(file), "plan.price_per_hour=3600", "plan.probe_seconds=0.1"]) == 0
    shown = capsys.readouterr().out
    for stage, rows in (("sft", 24), ("dpo", 16), ("evaluate", 16)):
        assert re.search(rf"│ {stage} +│ +{rows} │.* s │ +\$[\d.]+ │", shown), shown
    assert re.search(r"plan: .* s for sft, dpo, evaluate, with .* s for the start .*, \$[\d.]+ at \$3600 an", shown)
    assert list(tmp_path.iterdir()) == [file]


def test_every_round_of_mining_is_planned(
    write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["plan.probe_seconds=0", "mine.rounds=3"]
    assert main(["check", str(write_run_file()), *words]) == 0
    shown = capsys.readouterr().out
    assert re.findall(r"│ (sft|dpo\S*) +│", shown) == ["sft", "dpo", "dpo-2", "dpo-3"]


def test_a_stage_that_could_not_train_is_told_by_check(
    write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(write_run_file()), "data.sources.0.num_pairs=0"]) == 2
    assert "preferences.jsonl holds no rows; leave 'dpo' out of 'stages'" in capsys.readouterr().err


@pytest.mark.parametrize("packing", ["false", "true"])
def test_parts_of_steps_tell_what_whole_ones_would(
    packing: str, write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(write_run_file()), "plan.probe_seconds=0.02", f"sft.packing={packing}"]
    assert main(["check", "--time", *words]) == 0
    shown = capsys.readouterr().out
    for stage in ("sft", "dpo"):
        assert re.search(f"{stage}: a step takes about .* s, by (parts of some|forward passes over a few)", shown)
    assert main(["check", "--time", *words, "dpo.loss_type=sigmoidal"]) == 2
    assert "unknown loss 'sigmoidal'" in capsys.readouterr().err


def test_hours_of_another_device_follow_from_work_and_mfu(write_run_file: Callable[..., Path]) -> None:
    seconds = []
    for share, processes in ((0.25, 1), (0.5, 1), (0.5, 2)):
        keys = ["plan.device=H100", f"plan.mfu={share}", f"launch.processes={processes}"]
        config = load_config(write_run_file(), keys)
        prepare.run(config)
        estimate = planned(config)
        assert estimate.seconds
        assert estimate.tokens
        seconds.append(estimate.seconds)
    assert seconds[0] == pytest.approx(2 * seconds[1])
    assert seconds[1] == pytest.approx(2 * seconds[2])
    # Two FLOPs for each weight and token forward, four backward, three epochs; attention's scores come on top.
    matrices = 2 * (32 * (32 + 16 + 16 + 32) + 3 * 32 * 64)
    floor = 6 * matrices * 3 * estimate.tokens / (989e12 * 0.5)
    assert floor < seconds[1] < 1.6 * floor


def test_two_processes_take_half_the_batches_of_an_epoch_rounded_up(write_run_file: Callable[..., Path]) -> None:
    config = load_config(write_run_file(), ["plan.probe_seconds=0", "sft.per_device_train_batch_size=5"])
    prepare.run(config)
    two = config.model_copy(update={"launch": config.launch.model_copy(update={"processes": 2})})
    assert [planned(each).steps for each in (config, two)] == [3 * 5, 3 * 3]


def test_a_device_without_a_known_peak(write_run_file: Callable[..., Path]) -> None:
    config = load_config(write_run_file(), ["plan.device=H1000", "plan.mfu=0.4"])
    prepare.run(config)
    with pytest.raises(ConfigError, match=r"'plan.device': no peak is known of 'H1000' \(there are: H100"):
        planned(config)


def test_keys_that_go_together(write_run_file: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match="'device' and 'mfu' go together"):
        load_config(write_run_file(), ["plan.mfu=0.4"])


def test_a_probe_stops_when_its_timings_agree() -> None:
    assert is_steady(2.1, [1.0, 1.02, 0.98])
    assert not is_steady(2.1, [1.0, 2.0, 0.5])
    assert is_steady(9.0, [1.0, 1.1, 0.9] * 9)
    assert not is_steady(1.9, [1.0] * 50)
    assert not is_steady(60.0, [1.0, 1.0])


def test_each_probe_has_its_share_of_what_is_left() -> None:
    budget = Budget(30, 3)
    shares = []
    for spent in (1, 40, 5):
        shares.append(budget.share())
        budget.spend(spent)
    assert shares == [10, 14.5, 2.5]


def test_batches_are_looked_at_all_over() -> None:
    assert sorted(plan._spread(7)) == list(range(7))
    assert plan._spread(1) == [0]


def test_durations() -> None:
    assert [duration(each) for each in (None, 47.6, 200, 8640)] == ["-", "48 s", "3 min 20 s", "2.4 h"]
