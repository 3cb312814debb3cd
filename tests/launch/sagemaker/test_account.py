"""What can be wrong with an account before any job, as the command line tells it, and its other words."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_aws import FakeAws, client

from calltune.cli import main
from calltune.config.run_file import Config
from calltune.launch.sagemaker.aws import Aws
from calltune.launch.sagemaker.plan import make_plan
from calltune.launch.sagemaker.submit import run_stages

ROOT = Path(__file__).parents[3]


@pytest.fixture
def say_no(sagemaker_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must fail, and return its one line."""

    def run(*words: str, more: str = "", without: str = "") -> str:
        file = sagemaker_file(more)
        file.write_text(re.sub(without, "", file.read_text()) if without else file.read_text())
        assert main(["run", str(file), "--on", "sagemaker", *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return run


def test_no_credentials(fake: FakeAws, say_no: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    assert "no AWS credentials: run 'aws configure'" in say_no()


def test_no_role(say_no: Callable[..., str]) -> None:
    assert "'launch.sagemaker.role' is missing" in say_no(without=r"role = .*")


def test_no_such_bucket(fake: FakeAws, say_no: Callable[..., str]) -> None:
    assert "there is no bucket 'another'" in say_no("launch.sagemaker.bucket=another")


def test_a_bucket_in_another_region(fake: FakeAws, say_no: Callable[..., str]) -> None:
    client("s3", fake.jobs.url, "eu-west-1").create_bucket(
        Bucket="european", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    line = say_no("launch.sagemaker.bucket=european")
    assert "the bucket 'european' is in eu-west-1, but the jobs run in us-east-1" in line


def test_spot_wants_checkpoints(fake: FakeAws, say_no: Callable[..., str]) -> None:
    assert "a spot machine may be taken back at any time" in say_no("sft.save_strategy=no", more="spot = true")


@pytest.mark.parametrize(
    ("overrides", "more", "told"),
    [
        (["evaluate.backend=vllm"], "", "'evaluate.backend' needs the package 'vllm', which the jobs do not have"),
        (["launch.sagemaker.instance_type=ml.trn1.2xlarge"], "", "ml.trn1.2xlarge has AWS's own chips"),
        (["export.checkpoint=dpo", 'stages=["sft"]'], "", "[export]: this run does not train 'dpo'"),
        (["stages=[]", "export.dtype=float32"], "", "[export]: this run does not train anything"),
        (
            ['stages=["sft"]', "tuning.method=lora", "export.dtype=float32"],
            'model_s3 = "s3://toy-bucket/base/"',
            "[export] holds the adapter of 'sft' against its base on this machine, and the base is",
        ),
    ],
    ids=["a package", "an image", "an untrained export", "nothing to export", "an adapter without its base"],
)
def test_what_cannot_be_is_told_before_anything_is_sent(
    fake: FakeAws, say_no: Callable[..., str], overrides: list[str], more: str, told: str
) -> None:
    assert told in say_no(*overrides, more=more)
    assert (fake.requests, fake.puts) == ([], [])


@pytest.mark.parametrize("name", ["torch", "transformers", "peft"])
def test_an_export_needs_what_makes_it_before_anything_is_sent(
    fake: FakeAws, say_no: Callable[..., str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A name that is None among the modules cannot be imported, as on a machine without it."""
    monkeypatch.setitem(sys.modules, name, None)
    line = say_no("export.dtype=float32")
    assert f"[export] is made on this machine, which lacks {name}: pip install 'calltune[train]', or leave" in line
    assert (fake.requests, fake.puts) == ([], [])


def test_dpo_alone_needs_the_sft_job(
    fake: FakeAws,
    prepared: Callable[..., Config],
    sagemaker_file: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    prepared()
    assert main(["dpo", str(sagemaker_file()), "--on", "sagemaker"]) == 2
    assert "dpo: needs the completed job of sft; run sft --on sagemaker first" in capsys.readouterr().err


def test_plan_status_logs_and_clean(
    fake: FakeAws,
    aws: Aws,
    prepared: Callable[..., Config],
    sagemaker_file: Callable[..., Path],
    toy_package: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    more = "price_per_hour = 2.0\nmax_runtime_hours = 1"

    def said(*words: str) -> str:
        action, *others = words
        assert main(["sagemaker", action, str(sagemaker_file(more)), 'stages=["sft"]', *others]) == 0
        return capsys.readouterr().out

    assert "what is not complete costs at most 4.00 USD" in said("plan")
    assert "no job carries the tag" in said("status")
    config = prepared('stages=["sft"]', more=more)
    job = run_stages(aws, config, make_plan(config, toy_package, []), ["sft"])[0]
    assert "what is not complete costs at most 2.00 USD" in said("plan")
    assert "billed so far: 0.03 USD" in said("status")
    assert "  sft: 4 steps" in said("logs")
    assert f"is that of job {job['TrainingJobName']}" in said("fetch")
    assert json.loads((config.run_folder / "sft" / "manifest.json").read_text())["steps"] == 4
    assert re.search(
        r"clean: would delete \d\d objects below s3://toy-bucket/calltune/toy/; --yes does it", said("clean")
    )
    assert re.search(r"clean: deleted \d\d objects", said("clean", "--yes"))
    assert "clean: would delete 0 objects" in said("clean")


def test_the_pins_are_the_projects_and_hold_no_torch() -> None:
    pins = (ROOT / "src/calltune/launch/sagemaker/requirements.txt").read_text().splitlines()
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    assert [pin for pin in pins if pin not in constraints] == []
    assert not [pin for pin in pins if re.match(r"(torch|nvidia|triton)\b", pin)]
