"""What `deploy` would ask for: the package with what the report says, and the endpoint with vLLM's flags."""

import json
from pathlib import Path

import pytest
from exported_run import FAILED, PASSED, SERVE, Exported

from calltune.cli import main
from calltune.launch.sagemaker.deployment import vllm_variables


def dry(file: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[dict, str]:
    assert main(["deploy", str(file), "--on", "sagemaker", "--dry-run", *words]) == 0
    out, err = capsys.readouterr()
    return json.loads(out), err


def mistake(file: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["deploy", str(file), "--on", "sagemaker", "--dry-run", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    return line


def test_the_requests(exported: Exported, capsys: pytest.CaptureFixture[str]) -> None:
    requests, said = dry(exported(more="instance_count = 2\nprice_per_hour = 1.5\nmax_model_len = 4096"), capsys)
    names = ["CreateModelPackageGroup", "CreateModelPackage", "CreateModel", "CreateEndpointConfig", "CreateEndpoint"]
    assert list(requests) == names
    container = requests["CreateModel"]["PrimaryContainer"]
    registry = "763104351884.dkr.ecr.us-east-1.amazonaws.com"
    assert container["Image"] == f"{registry}/vllm:0.31.0-gpu-py312-cu130-ubuntu24.04-sagemaker"
    assert container["Environment"] == {
        "SM_VLLM_ENABLE_AUTO_TOOL_CHOICE": "true",
        "SM_VLLM_TOOL_CALL_PARSER": "hermes",
        "SM_VLLM_REASONING_PARSER": "qwen3",
        "SM_VLLM_OVERRIDE_GENERATION_CONFIG": '{"temperature": 0}',
        "SM_VLLM_SERVED_MODEL_NAME": "toy",
        "SM_VLLM_MAX_MODEL_LEN": "4096",
    }
    source = container["ModelDataSource"]["S3DataSource"]
    assert source["S3Uri"].startswith("s3://toy-bucket/calltune/toy/deploy/")
    assert source["S3Uri"].endswith("/")
    package = requests["CreateModelPackage"]
    assert package["InferenceSpecification"]["Containers"] == [container]
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    assert "Tags" not in package
    (variant,) = requests["CreateEndpointConfig"]["ProductionVariants"]
    assert (variant["InstanceType"], variant["InitialInstanceCount"]) == ("ml.g4dn.xlarge", 2)
    assert requests["CreateEndpoint"]["EndpointName"].startswith("toy-deploy-")
    assert said == "deploy: the endpoint costs 3.00 USD for each hour that it stands, on 2 x ml.g4dn.xlarge\n"


def test_without_a_price_none_is_made_up(exported: Exported, capsys: pytest.CaptureFixture[str]) -> None:
    _, said = dry(exported(), capsys)
    assert "costs an unknown sum, as 'price_per_hour' is not given for each hour" in said


@pytest.mark.parametrize(
    ("rule", "checkpoint", "state"),
    [
        (PASSED, "dpo", "Approved"),
        (FAILED, "dpo", "Rejected"),
        ("", "dpo", "PendingManualApproval"),
        (PASSED, "sft", "PendingManualApproval"),
    ],
)
def test_the_gate_gives_the_approval_of_what_it_judged(
    exported: Exported, capsys: pytest.CaptureFixture[str], rule: str, checkpoint: str, state: str
) -> None:
    requests, _ = dry(exported(rule, checkpoint=checkpoint), capsys)
    assert requests["CreateModelPackage"]["ModelApprovalStatus"] == state


def test_a_checkpoint_that_an_earlier_one_excels_is_left_to_a_person(
    exported: Exported, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file, report = exported(PASSED), tmp_path / "toy" / "report.json"
    told = json.loads(report.read_text())
    report.write_text(json.dumps({**told, "verdict": {**told["verdict"], "better": "sft"}}))
    assert dry(file, capsys)[0]["CreateModelPackage"]["ModelApprovalStatus"] == "PendingManualApproval"


def test_names_follow_what_is_deployed(exported: Exported, capsys: pytest.CaptureFixture[str]) -> None:
    def name(*words: str, **planted: str) -> str:
        return dry(exported(**planted), capsys, *words)[0]["CreateEndpoint"]["EndpointName"]

    first = name()
    assert name() == first
    assert name(rule=PASSED) == first, "an endpoint is not another one because the gate is"
    others = {name(weights="x"), name("launch.sagemaker.deploy.instance_count=2"), name(serve=f"{SERVE} --x 1")}
    assert len(others | {first}) == 4


def test_nothing_is_exported(exported: Exported, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = exported()
    (tmp_path / "toy" / "export" / "manifest.json").unlink()
    assert "toy/export: holds no exported model yet; run export first" in mistake(file, capsys)


def test_an_altered_export_is_refused(exported: Exported, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = exported()
    (tmp_path / "toy" / "export" / "model.safetensors").write_text("others")
    assert "it is not as it was sealed" in mistake(file, capsys)


def test_figures_of_other_weights_are_refused(
    exported: Exported, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = exported()
    manifest = tmp_path / "toy" / "eval" / "dpo" / "when2call" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"dpo"', '"trained anew"'))
    assert "is of another 'dpo' than was exported" in mistake(file, capsys)


def test_a_machine_without_a_gpu_is_refused(exported: Exported, capsys: pytest.CaptureFixture[str]) -> None:
    word = "launch.sagemaker.deploy.instance_type=ml.c5.xlarge"
    assert "'launch.sagemaker.deploy.instance_type': ml.c5.xlarge has no GPU" in mistake(exported(), capsys, word)


def test_the_table_is_asked_for(exported: Exported, capsys: pytest.CaptureFixture[str]) -> None:
    file = exported()
    file.write_text(file.read_text().partition("[launch.sagemaker.deploy]")[0])
    assert "'deploy' needs the table [launch.sagemaker.deploy]" in mistake(file, capsys)


def test_flags_become_variables() -> None:
    assert vllm_variables("vllm serve 'a b' --one-flag --a-value x=y --json '{\"a\": 1}'") == {
        "SM_VLLM_ONE_FLAG": "true",
        "SM_VLLM_A_VALUE": "x=y",
        "SM_VLLM_JSON": '{"a": 1}',
    }
