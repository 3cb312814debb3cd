"""A small model that can do something is trained on, well and badly, and its guard watches."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toy_run
import warm

from calltune.cli import main
from calltune.files.hashes import file_sha256

RIGHT, TOO_HIGH = "dpo.learning_rate=1e-3", "dpo.learning_rate=1e-2"
SCRIPT = Path(__file__).parents[1] / "material" / "kill_script.py"
WORDS = [
    "data.sources.0.num_examples=32",
    "data.sources.0.num_pairs=16",
    "sft.num_train_epochs=60",
    "sft.learning_rate=5e-3",
    "sft.per_device_train_batch_size=8",
    "sft.save_steps=0.5",
    "sft.lr_scheduler_type=constant",
    "dpo.num_train_epochs=5",
    # These stages are shorter than a check.
    "guard.num_questions=32",
    "guard.time_share=1000",
    "guard.every_steps=4",
]
LORA = ["tuning.method=lora", "lora.r=4", "lora.lora_dropout=0.1"]

Dpo = Callable[..., int]


@pytest.fixture(scope="module")
def skilled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose SFT model knows most of the answers to its training questions."""
    folder = tmp_path_factory.mktemp("skilled") / "work"
    toy_run.begun(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for verb in ("prepare", "sft"):
            assert main([verb, "run.json", *WORDS, "guard.every_steps=80"]) == 0
    last = json.loads((folder / "runs/toy/sft/guard.json").read_text())["checks"][-1]
    assert last["metrics"]["behavior_accuracy"] > 0.6
    return folder


@pytest.fixture
def dpo(skilled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dpo:
    """Runs `dpo` in a copy of that folder, in which the test then is."""
    shutil.copytree(skilled, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return lambda *words: main(["dpo", "run.json", *WORDS, *words])


def read(name: str) -> dict[str, Any]:
    return json.loads(Path("runs/toy/dpo", name).read_text())


def trained() -> tuple[str, list[Any]]:
    """What must not depend on who watched: the weights, and what the trainer logged."""
    log = read("history.json")["log"]
    timed = ("runtime", "per_second")
    return file_sha256(Path("runs/toy/dpo/model.safetensors")), [
        {key: value for key, value in entry.items() if not key.endswith(timed)} for entry in log
    ]


def test_ten_times_the_learning_rate_is_stopped_within_two_checks(dpo: Dpo, capsys: pytest.CaptureFixture) -> None:
    assert dpo(TOO_HIGH) == 4
    captured = capsys.readouterr()
    found = read("guard.json")
    assert [check["step"] for check in found["checks"]] in ([0, 4], [0, 4, 8])
    last = captured.err.splitlines()[-1]
    assert last.startswith(f"calltune: dpo: step {found['checks'][-1]['step']}: {found['collapse']} since step 0; ")
    assert last.endswith("training is stopped: lower learning_rate (0.01 here)")
    assert "fell from" in found["collapse"]
    assert captured.out.count("dpo: guard: step ") == len(found["checks"])
    assert not Path("runs/toy/dpo/manifest.json").exists()
    # A guard that is told to look away lets it come to its end.
    assert dpo(TOO_HIGH, "guard.enabled=false") == 0
    assert "guard" not in read("manifest.json")
    assert not Path("runs/toy/dpo/guard.json").exists()


@pytest.mark.parametrize("tuning", [[], LORA], ids=["all weights", "adapters with dropout"])
def test_the_right_rate_is_untouched(dpo: Dpo, tuning: list[str]) -> None:
    assert dpo(RIGHT, *tuning) == 0
    watched, facts = trained(), read("manifest.json")["guard"]
    assert (facts["questions"], facts["held_out"], facts["skipped_steps"]) == (32, 0, [])
    assert facts["checks"] == len(read("guard.json")["checks"]) == 6
    assert facts["collapse"] is None
    assert facts["kept_step"] is None
    # The stage is complete for one who no longer watches, so it has to be taken away.
    assert dpo(RIGHT, *tuning, "guard.enabled=false") == 0
    assert read("manifest.json")["guard"] == facts
    shutil.rmtree("runs/toy/dpo")
    assert dpo(RIGHT, *tuning, "guard.enabled=false") == 0
    assert trained() == watched


def test_the_best_check_is_kept(dpo: Dpo, capsys: pytest.CaptureFixture) -> None:
    words = ["guard.keep=best", "guard.every_steps=3", "dpo.save_steps=1", "dpo.save_total_limit=1"]
    assert dpo(RIGHT, *words) == 0
    ranks = {
        check["step"]: (check["metrics"]["behavior_accuracy"], check["metrics"]["exact_call_rate"], check["step"])
        for check in read("guard.json")["checks"][1:]
    }
    best = max(ranks, key=ranks.__getitem__)
    assert read("manifest.json")["guard"]["kept_step"] == best
    assert f"; the model of checkpoint-{best} is kept" in capsys.readouterr().out
    kept = file_sha256(Path("runs/toy/dpo/model.safetensors"))
    # Another rule makes another stage of it.
    assert dpo(RIGHT, *words[1:]) == 0
    assert Path("runs/toy/dpo.old-1").exists()
    assert (file_sha256(Path("runs/toy/dpo/model.safetensors")) == kept) == (best == max(ranks))


def test_a_collapse_goes_on_with_the_best(dpo: Dpo, capsys: pytest.CaptureFixture) -> None:
    words = ["dpo.lr_scheduler_type=constant_with_warmup", "dpo.warmup_steps=20", "guard.every_steps=2"]
    assert dpo("dpo.learning_rate=2e-2", *words, "guard.on_collapse=best", "guard.keep=last") == 0
    found, manifest = read("guard.json"), read("manifest.json")
    steps = [check["step"] for check in found["checks"]]
    assert found["collapse"]
    assert manifest["steps"] == steps[-1] < 20
    assert 0 < manifest["guard"]["kept_step"] < steps[-1]
    out = capsys.readouterr().out
    assert f"training ends here, and the stage's model is that of step {manifest['guard']['kept_step']}" in out
    for verb in ("evaluate", "report"):
        assert main([verb, "run.json", *WORDS, "dpo.learning_rate=2e-2", *words, "guard.on_collapse=best"]) == 0
    told = f"the model is that of step {manifest['guard']['kept_step']}: training ended at step {steps[-1]}, as "
    assert f"note: dpo: {told}" in " ".join(capsys.readouterr().out.split())
    assert f"<code>dpo</code>: {told}" in Path("runs/toy/report.html").read_text()


def test_no_check_before_a_collapse_is_no_best(dpo: Dpo, capsys: pytest.CaptureFixture) -> None:
    assert dpo("dpo.learning_rate=5e-2", "guard.on_collapse=best") == 4
    assert "there is no check between them to go on with" in capsys.readouterr().err


@pytest.mark.parametrize("keep", ["last", "best"])
def test_kills_change_nothing(dpo: Dpo, keep: str) -> None:
    words = [*WORDS, RIGHT, f"guard.keep={keep}", "guard.every_steps=3", "dpo.save_steps=2", *LORA]
    done = warm.run(str(SCRIPT), "run.json", "dpo", *words, "--kills", "2")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["kills"] >= 1
    assert found["same_weights"]
    assert found["same_history"]
    assert found["same_guard"]


def test_two_processes_stop_together(dpo: Dpo) -> None:
    words = [*WORDS, TOO_HIGH, "launch.processes=2", "dpo.per_device_train_batch_size=2"]
    command = [sys.executable, "-m", "calltune", "dpo", "run.json", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 4, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("calltune: dpo: step ")
    assert last.endswith("training is stopped: lower learning_rate (0.01 here)")
    assert done.stdout.count("dpo: guard: step 0: ") == 1
