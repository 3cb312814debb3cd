"""Packages and variables that a run file needs: in the jobs' pins, or refused before anything is sent."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from calltune.config.run_file import Config, load_config
from calltune.errors import ConfigError
from calltune.launch.sagemaker.look import missing
from calltune.launch.sagemaker.packages import pins

SECRET = 'secret = "arn:aws:secretsmanager:us-east-1:123456789012:secret:x"\n'
JUDGE = """
[[evaluate.benchmarks]]
name = "when2call_judge"
path = "{run}/data/test.jsonl"
judge = { base_url = "https://api.openai.com/v1", model = "m", api_key_env = "OPENAI_API_KEY" }
"""


@pytest.fixture
def load(sagemaker_file: Callable[..., Path]) -> Callable[..., Config]:
    def load(*overrides: str, more: str = "", end: str = "") -> Config:
        file = sagemaker_file(more)
        file.write_text(file.read_text() + end)
        return load_config(file, overrides)

    return load


def optional(config: Config) -> set[str]:
    names = {line.split("==")[0] for line in pins(config)}
    return names & {"bitsandbytes", "openai", "mlflow", "sagemaker-mlflow", "liger-kernel", "torchao"}


def test_what_nobody_needs_is_not_installed(load: Callable[..., Config]) -> None:
    assert optional(load()) == set()


@pytest.mark.parametrize(
    ("override", "package"),
    [
        ("tuning.method=qlora", "bitsandbytes"),
        ('tuning.dpo={method="qlora"}', "bitsandbytes"),
        ("sft.optim=paged_adamw_8bit", "bitsandbytes"),
        ("dpo.optim=adamw_bnb_8bit", "bitsandbytes"),
        ("sft.optim=adamw_torch_4bit", "torchao"),
        ("dpo.optim=adamw_torch_8bit", "torchao"),
        ("sft.use_liger_kernel=true", "liger-kernel"),
        ("tuning.fused_kernels=liger", "liger-kernel"),
        ("evaluate.backend=openai", "openai"),
    ],
)
def test_what_the_run_file_needs_is_pinned(load: Callable[..., Config], override: str, package: str) -> None:
    assert optional(load(override)) == {package}


def test_a_judge_brings_its_package_and_wants_a_secret(load: Callable[..., Config]) -> None:
    assert optional(load(more=SECRET, end=JUDGE)) == {"openai"}
    with pytest.raises(ConfigError) as error:
        pins(load(end=JUDGE))
    assert str(error.value) == (
        "'evaluate.benchmarks.2.judge.api_key_env': a job has OPENAI_API_KEY only from the secret that "
        "'launch.sagemaker.secret' names"
    )


@pytest.mark.parametrize(
    ("override", "key", "package"),
    [
        ("evaluate.backend=vllm", "evaluate.backend", "vllm"),
        ("sft.optim=galore_adamw", "sft.optim", "galore-torch"),
        ("dpo.optim=adalomo", "dpo.optim", "lomo-optim"),
        ("sft.optim=schedule_free_sgd", "sft.optim", "schedulefree"),
    ],
)
def test_what_jobs_lack_is_refused_unless_it_is_named(
    load: Callable[..., Config], override: str, key: str, package: str
) -> None:
    with pytest.raises(ConfigError) as error:
        pins(load(override))
    assert str(error.value).startswith(f"'{key}' needs the package '{package}', which the jobs do not have; add it to")
    assert f"{package}==1.2" in pins(load(override, more=f'requirements = ["{package}==1.2"]'))
    # An image of one's own may have it.
    pins(load(override, more='image = "mine:1"'))


def test_what_aws_image_has_depends_on_the_machine(load: Callable[..., Config]) -> None:
    attention = 'sft.model_init_kwargs={attn_implementation="flash_attention_2"}'
    for override in (attention, "launch.strategy=zero2"):
        assert optional(load(override)) == set()
        with pytest.raises(ConfigError, match="needs the package"):
            pins(load(override, "launch.sagemaker.instance_type=ml.m5.xlarge"))


@pytest.mark.parametrize(
    ("requirement", "told"),
    [
        ("torch==2.13.0", "torch comes with the image"),
        ("trl==1.0.0", "calltune pins trl==1.16.0 itself"),
        ("Huggingface.Hub==1.0", "calltune pins huggingface_hub==2.4.0 itself"),
    ],
)
def test_pins_that_are_not_yours(load: Callable[..., Config], requirement: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        pins(load(more=f'requirements = ["{requirement}"]'))


def test_your_version_of_what_is_optional_counts(load: Callable[..., Config]) -> None:
    found = pins(load("evaluate.backend=openai", more='requirements = ["openai==3.0.0"]'))
    assert [line for line in found if line.startswith("openai")] == ["openai==3.0.0"]


def test_a_job_looks_before_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "of_mine.py").write_text("import nowhere_found")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", " ")
    assert missing({}) is None
    assert missing({"packages": {"json": "a"}, "modules": {"os.path": "b"}, "variables": {"PATH": "c"}}) is None
    assert missing({"packages": {"no_such": "sft.optim"}}) == (
        "'sft.optim' needs the package 'no_such', which this image does not have"
    )
    assert missing({"variables": {"OPENAI_API_KEY": "judge.api_key_env"}}) == (
        "'judge.api_key_env' names the variable OPENAI_API_KEY, which the secret does not hold"
    )
    assert missing({"modules": {"of_mine": "evaluate.benchmarks.0"}}) == (
        "'evaluate.benchmarks.0': of_mine cannot be imported: ModuleNotFoundError: No module named 'nowhere_found'"
    )
    sys.modules.pop("of_mine", None)
