"""A stage's settings: what the run file says, resolved once, and the same after a stage as before it."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError
from importlib.util import find_spec
from pathlib import Path

import pytest

from calltune.cli import main
from calltune.config.run_file import load_config
from calltune.errors import ConfigError
from calltune.files.tracking import Tracker
from calltune.training.ready import get_ready
from calltune.training.settings import stage_settings
from calltune.training.steps import train
from calltune.training.trainer import make_trainer
from calltune.verbs import prepare, sft


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("sft.learnig_rate=1e-5", "unknown key 'sft.learnig_rate', did you mean 'learning_rate'?"),
        ("sft.learning_rate=fast", "'sft.learning_rate': .*number"),
        ("sft.output_dir=x", "'sft.output_dir' cannot be set: the run file's 'output' and 'name' say where"),
        ("sft.max_seq_length=5", "'sft.max_seq_length' cannot be set: TRL calls it max_length"),
        ("sft.trust_remote_code=true", "'sft.trust_remote_code' cannot be set: code from the Hub is never run"),
        ("sft.model_init_kwargs={revision='x'}", r"'sft.model_init_kwargs.revision' cannot be set; there are: attn"),
        ("sft.model_init_kwargs={dtype='int3'}", r"'sft.model_init_kwargs.dtype': must be float32, .*, not 'int3'"),
        ("sft.lr_scheduler_type=wavy", r"\[sft\]: wavy is not a valid SchedulerType"),
        ("lora.r=4", r"\[lora\] is given, but tuning.method is 'full'"),
        ("tuning={method='lora'} lora.rank=4", "unknown key 'lora.rank'"),
        ("tuning={method='spectrum',spectrum_file='no.yaml'}", "tuning.spectrum_file: no.yaml: No such file"),
    ],
)
def test_every_mistake_is_told_by_one_call(write_run_file: Callable[..., Path], extra: str, message: str) -> None:
    """A call for a stage: most is told when the run file is read already."""
    with pytest.raises(ConfigError, match=message) as error:
        stage_settings(load_config(write_run_file(), extra.split()), "sft")
    assert "\n" not in str(error.value)
    assert extra.startswith("tuning={method='spectrum'") or str(error.value).startswith(f"{write_run_file()}: ")


def test_values_reach_trl_and_peft_word_for_word(write_run_file: Callable[..., Path]) -> None:
    overrides = ["dpo.loss_type=['sigmoid', 'bco_pair', 'sft']", "dpo.loss_weights=[0.8, 0.2, 1.0]", "dpo.beta=0.3"]
    config = load_config(write_run_file(), [*overrides, "tuning.method=lora", "lora.r=4", "seed=7"])
    settings = stage_settings(config, "dpo")
    for arguments in (settings.arguments, settings.arguments_with(max_length=99)):
        given = {key: getattr(arguments, key) for key in ("beta", "loss_weights", "seed")}
        assert given == {"beta": 0.3, "loss_weights": [0.8, 0.2, 1.0], "seed": 7}
    assert settings.arguments_with(max_length=99).max_length == 99
    assert settings.lora is not None
    assert settings.lora.r == 4


def test_what_the_run_file_says_goes_before_what_is_computed(write_run_file: Callable[..., Path]) -> None:
    config = load_config(write_run_file(), ["sft.max_length=55", "sft.seed=9", "sft.eval_strategy='no'"])
    settings = stage_settings(config, "sft")
    arguments = settings.arguments_with(max_length=99, eval_strategy="epoch")
    assert (arguments.max_length, arguments.seed, arguments.eval_strategy.value) == (55, 9, "no")
    assert (settings.max_length, stage_settings(config, "dpo").max_length) == (55, None)


@pytest.mark.parametrize("said", [None, False, True])
@pytest.mark.parametrize("computed", [False, True])
def test_the_run_file_decides_on_checkpointing_and_calltune_where_it_does_not(
    write_run_file: Callable[..., Path], said: bool | None, computed: bool
) -> None:
    overrides = [] if said is None else [f"sft.activation_checkpointing={str(said).lower()}"]
    settings = stage_settings(load_config(write_run_file(), overrides), "sft")
    assert settings.checkpointing is said
    assert settings.arguments_with(computed).gradient_checkpointing is (computed if said is None else said)


def test_one_loss_may_be_written_without_a_list(write_run_file: Callable[..., Path]) -> None:
    config = load_config(write_run_file(), ["dpo.loss_type=ipo"])
    assert stage_settings(config, "dpo").arguments_with().loss_type == ["ipo"]


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("{}", "run.toml: 'dpo.loss_type': a loss or a list of some was expected, not {}\n"),
        ("[]", "run.toml: 'dpo.loss_type': a loss or a list of some was expected, not []\n"),
        ("[1]", "run.toml: 'dpo.loss_type': a loss or a list of some was expected, not [1]\n"),
        ("sigmoidal", "run.toml: 'dpo.loss_type': unknown loss 'sigmoidal', did you mean 'sigmoid'?\n"),
    ],
)
@pytest.mark.parametrize("verb", ["check", "dpo"])
def test_a_loss_that_is_none_is_one_line(
    value: str, line: str, verb: str, write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """TRL itself looks at its losses when it computes the first one."""
    words = [str(write_run_file()), "stages=['dpo']"]
    assert main(["prepare", *words]) == 0
    capsys.readouterr()
    assert main([verb, *words, f"dpo.loss_type={value}"]) == 2
    assert line in capsys.readouterr().err


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_stage_leaves_its_settings_as_they_were(write_run_file: Callable[..., Path], method: str) -> None:
    config = load_config(write_run_file(), [f"tuning.method={method}", "sft.max_steps=1", "sft.save_total_limit=1"])
    prepare.run(config)
    settings, again = stage_settings(config, "sft"), stage_settings(config, "sft")
    trainer = make_trainer(get_ready(settings, sft.RECIPE, config.run_folder, config.model))
    train(trainer, "sft", None, Tracker())
    assert settings.arguments.to_dict() == again.arguments.to_dict()
    assert settings.table == again.table
    assert (settings.lora and settings.lora.to_dict()) == (again.lora and again.lora.to_dict())
    with pytest.raises(FrozenInstanceError):
        settings.lora = None  # type: ignore[misc]


@pytest.mark.parametrize(
    ("optimizer", "package", "extra"),
    [
        ("adamw_torch_8bit", "torchao", "gpu"),
        ("adamw_torch_4bit", "torchao", "gpu"),
        ("lion_8bit", "bitsandbytes", "qlora"),
    ],
)
@pytest.mark.parametrize("verb", ["check", "sft"])
def test_an_optimiser_whose_package_is_missing_is_one_line(
    optimizer: str, package: str, extra: str, verb: str, write_run_file: Callable[..., Path], monkeypatch, capsys
) -> None:
    words = [str(write_run_file()), f"sft.optim={optimizer}", "stages=['sft']"]
    assert main(["prepare", *words]) == 0
    capsys.readouterr()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == package else find_spec(name))
    assert main([verb, *words]) == 2
    line = f"'sft.optim': '{optimizer}' needs {package}: pip install 'calltune[{extra}]'"
    assert line in capsys.readouterr().err
