"""The commands and files of a launch, as accelerate and DeepSpeed read them."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from calltune.config.run_file import load_config
from calltune.errors import ConfigError
from calltune.files.json_lines import write_json
from calltune.launch.local import accelerate_command, accelerate_config, deepspeed_config

STRATEGIES = ["ddp", "fsdp2", "zero1", "zero2", "zero3"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_accelerate_understands_the_command(write_run_file: Callable[..., Path], tmp_path: Path, strategy: str) -> None:
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    machines = ["launch.machines=2", "launch.machine_rank=1", "launch.main_address=10.0.0.1"]
    config = load_config(write_run_file(), ["launch.processes=4", f"launch.strategy={strategy}", *machines])
    write_json(tmp_path / "accelerate.json", accelerate_config(config, tmp_path))
    command = accelerate_command(config, tmp_path, "dpo", "--round=2")
    assert command[:3] == [sys.executable, "-m", "accelerate.commands.launch"]
    words, _, _ = _validate_launch_command(launch_command_parser().parse_args(command[3:]))
    assert (words.multi_gpu, words.use_fsdp, words.use_deepspeed) == (
        strategy == "ddp",
        strategy == "fsdp2",
        strategy.startswith("zero"),
    )
    assert (words.num_processes, words.num_machines, int(words.machine_rank)) == (8, 2, 1)
    assert (words.main_process_ip, words.main_process_port) == ("10.0.0.1", 29500)
    given = [words.training_script, *words.training_script_args]
    assert given == ["calltune", "dpo", str(tmp_path / "config.json"), "--round=2"]
    if strategy == "fsdp2":
        assert (words.fsdp_version, words.fsdp_state_dict_type) == (2, "FULL_STATE_DICT")
    if strategy == "zero3":
        assert words.zero3_init_flag


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_deepspeed_understands_its_file(
    write_run_file: Callable[..., Path], stage: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    runtime = pytest.importorskip("deepspeed.runtime.config", reason="DeepSpeed is not installed")
    settings = deepspeed_config(load_config(write_run_file(), [f"launch.strategy=zero{stage}"]).launch)
    # What the trainer fills in.
    filled = {"gradient_accumulation_steps": 2, "gradient_clipping": 1.0, "train_micro_batch_size_per_gpu": 4}
    precision = {"bf16": {"enabled": True}, "fp16": {"enabled": False}}
    read = runtime.DeepSpeedConfig({**settings, **filled, **precision})
    assert read.zero_config.stage == stage
    assert read.zero_config.gather_16bit_weights_on_model_save == (stage == 3)
    assert (read.train_batch_size, read.bfloat16_config.enabled) == (8, True)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["launch.processes=0"], "'launch.processes'"),
        (["launch.strategy=fsdp"], "'launch.strategy'"),
        (["launch.machines=2"], "'main_address' must be given"),
        (["launch.machine_rank=1"], "machine_rank 1 needs more than 1 machines"),
    ],
)
def test_mistakes(write_run_file: Callable[..., Path], overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write_run_file(), overrides)
