"""`deploy` against an account on loopback: made once, found again, and nothing left running when it fails."""

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from exported_run import FAILED, PASSED, Exported
from fake_aws import FakeAws, client

from calltune.cli import main

Command = Callable[..., str]
MADE = ["CreateModel", "CreateEndpointConfig", "CreateEndpoint"]


def reads_calls(request: dict) -> dict:
    """A container that calls the first tool where it is asked to book, and whose parser reads that."""
    name = request["tools"][0]["function"]["name"]
    call = {"id": "1", "type": "function", "function": {"name": name, "arguments": '{"city": "Rome"}'}}
    return completion({"content": None, "tool_calls": [call]}, "tool_calls")


def completion(message: dict, reason: str = "stop") -> dict:
    return {"choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}]}


@pytest.fixture
def deploy(fake: FakeAws, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command; what it printed, the errors last."""

    fake.answers = reads_calls

    def run(file: Path, *words: str, code: int = 0) -> str:
        assert main(["deploy", str(file), "--on", "sagemaker", *words]) == code
        return "".join(capsys.readouterr())

    return run


def left(fake: FakeAws) -> list[int]:
    """How many endpoints, configurations, models and packages there are."""
    account = client("sagemaker", fake.jobs.url)
    packages = account.list_model_packages(ModelPackageGroupName="toy")["ModelPackageSummaryList"]
    lists = account.list_endpoints()["Endpoints"], account.list_endpoint_configs()["EndpointConfigs"]
    return [*map(len, lists), len(account.list_models()["Models"]), len(packages)]


def test_it_is_made_once(fake: FakeAws, exported: Exported, deploy: Command) -> None:
    file = exported(PASSED)
    fake.endpoint_states = [("Creating", "")]
    said = deploy(file)
    name = re.findall(r"made the endpoint (toy-\S+)", said)[0]
    assert f"endpoint {name} is Creating after 0 s" in said
    assert f"endpoint {name} is InService after" in said
    assert "as Approved" in said
    assert left(fake) == [1, 1, 1, 1]
    again = deploy(file)
    assert f"the endpoint {name} is there already" in again
    assert "is registered already, as Approved" in again
    assert [len(fake.asked(operation)) for operation in (*MADE, "CreateModelPackage")] == [1, 1, 1, 1]
    assert len(fake.asked("CreateModelPackageGroup")) == 1


def test_the_package_tells_the_metrics(fake: FakeAws, exported: Exported, deploy: Command, tmp_path: Path) -> None:
    deploy(exported(PASSED))
    (package,) = fake.asked("CreateModelPackage")
    source = package["ModelMetrics"]["ModelQuality"]["Statistics"]
    key = source["S3Uri"].removeprefix("s3://toy-bucket/")
    s3 = client("s3", fake.jobs.url)
    metrics = json.loads(s3.get_object(Bucket="toy-bucket", Key=key)["Body"].read())
    reported = json.loads((tmp_path / "toy" / "report.json").read_text())["results"]
    (dpo,) = [row for row in reported if (row["benchmark"], row["checkpoint"]) == ("when2call", "dpo")]
    assert metrics["multiclass_classification_metrics"]["when2call.acc_norm"]["value"] == dpo["metrics"]["acc_norm"]
    container = package["InferenceSpecification"]["Containers"][0]
    prefix = container["ModelDataSource"]["S3DataSource"]["S3Uri"].removeprefix("s3://toy-bucket/")
    assert s3.get_object(Bucket="toy-bucket", Key=f"{prefix}model.safetensors")["Body"].read() == b"w"


def test_a_model_that_the_gate_stops_is_registered_and_not_served(
    fake: FakeAws, exported: Exported, deploy: Command
) -> None:
    said = deploy(exported(FAILED), code=3)
    assert "is registered as Rejected, and no endpoint is made" in said
    assert left(fake) == [0, 0, 0, 1]


@pytest.mark.parametrize("operation", MADE)
def test_a_refusal_in_the_middle_leaves_nothing(
    fake: FakeAws, exported: Exported, deploy: Command, operation: str
) -> None:
    fake.denied = {operation: (400, "ResourceLimitExceeded", "The limit is 0")}
    said = deploy(exported(), code=2)
    assert "was not accepted: ResourceLimitExceeded: The limit is 0 (ask for a higher quota" in said
    assert left(fake)[:3] == [0, 0, 0]


def test_an_endpoint_that_fails_is_taken_down(fake: FakeAws, exported: Exported, deploy: Command) -> None:
    fake.endpoint_states = [("Creating", ""), ("Failed", "CUDA out of memory")]
    said = deploy(exported(), code=2)
    assert "is Failed: CUDA out of memory (the GPU's memory is full" in said
    assert left(fake)[:3] == [0, 0, 0]


def test_sigterm_leaves_nothing(fake: FakeAws, exported: Exported, deploy: Command) -> None:
    fake.endpoint_states = [("Creating", "")] * 100
    fake.on_describe = lambda: os.kill(os.getpid(), signal.SIGTERM)
    said = deploy(exported(), code=143)
    assert said.count("deploy: deleted the ") == 3
    assert left(fake)[:3] == [0, 0, 0]


def test_what_stood_before_outlives_a_failure(fake: FakeAws, exported: Exported, deploy: Command) -> None:
    file = exported()
    deploy(file)
    fake.denied = {"DescribeEndpoint": (400, "AccessDeniedException", "no")}
    deploy(file, code=2)
    assert left(fake)[:3] == [1, 1, 1]


def test_what_failed_before_is_made_anew(fake: FakeAws, exported: Exported, deploy: Command) -> None:
    file = exported()
    deploy(file)
    fake.endpoint_states = [("Failed", "no capacity")]
    assert "is Failed; it is made anew" in deploy(file)
    assert len(fake.asked("CreateEndpoint")) == 2
    assert left(fake)[:3] == [1, 1, 1]


def test_what_cannot_be_deleted_is_named(fake: FakeAws, exported: Exported, deploy: Command) -> None:
    fake.endpoint_states = [("Failed", "no capacity")]
    fake.denied = {"DeleteEndpoint": (400, "AccessDeniedException", "no")}
    said = deploy(exported(), code=2)
    assert re.search(r"warning: endpoint '\S+' was not deleted: AccessDenied.* it stands and is billed until", said)
    assert left(fake)[:3] == [1, 0, 0]


def test_down_deletes_the_runs_own_and_no_others(fake: FakeAws, exported: Exported, deploy: Command) -> None:
    file = exported()
    deploy(file)
    said = deploy(file, "launch.sagemaker.deploy.instance_count=2")
    assert re.search(r"warning: endpoint '\S+' of this run stands, too, and is billed", said)
    # A run of this name below another prefix.
    deploy(file, "launch.sagemaker.prefix=others")
    assert left(fake)[:3] == [3, 3, 3]
    assert deploy(file, "--down").count("deploy: deleted the ") == 6
    assert left(fake)[:3] == [1, 1, 1]
    assert "no endpoint of toy-bucket/calltune/toy/ stands" in deploy(file, "--down")
    assert left(fake)[3] == 2, "packages stay, and how many machines serve one is not in it"


def test_the_runs_own_questions_are_asked(fake: FakeAws, exported: Exported, deploy: Command) -> None:
    said = deploy(exported())
    asked = fake.asked("InvokeEndpoint")
    assert [body["messages"][0]["content"][:10] for body in asked] == [f"Question {n}" for n in (1, 5, 0, 2)]
    assert {body["model"] for body in asked} == {"toy"}
    assert {body["temperature"] for body in asked} == {0}
    assert asked[0]["tools"][0]["function"]["name"] == "book_1"
    told = " ".join(said.split())
    assert re.search(r'book_1\({"city": "City 1"}\).*book_1\({"city": "Rome"}\)', told)
    assert "request_for_info" in told


LEFT = '<tool_call>\n{"name": "book_1", "arguments": {"city": "Rome"}}\n</tool_call>'


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (completion({"content": LEFT}), "the server left <tool_call> in the text"),
        (completion({"content": '{"name": "book_1", "arguments": {"city": "Rome"}}'}), "a call was left in the text"),
        (
            completion({"tool_calls": [{"function": {"name": "a", "arguments": "{"}}]}),
            "has arguments that are not JSON",
        ),
        ({"generated_text": "It is four."}, "is no chat completion"),
        (["text"], "is no chat completion"),
    ],
)
def test_what_cannot_be_read_is_taken_down(
    fake: FakeAws, exported: Exported, deploy: Command, answer: object, fault: str
) -> None:
    file = exported()
    fake.answers = lambda request: answer
    said = deploy(file, code=2)
    assert re.search(rf"deploy: smoke test: 4 of 4 answers cannot be read; 'q-1': .*{fault}", said)
    assert left(fake)[:3] == [0, 0, 0]


def test_without_a_parser_a_call_is_text(fake: FakeAws, exported: Exported, deploy: Command) -> None:
    file = exported(serve="vllm serve export --override-generation-config '{}'")
    fake.answers = lambda request: completion({"content": LEFT})
    assert 'book_1({"city": "Rome"})' in " ".join(deploy(file).split())


def test_an_endpoint_that_stood_is_left_when_it_does_not_answer(
    fake: FakeAws, exported: Exported, deploy: Command
) -> None:
    file = exported()
    deploy(file)
    fake.answers = lambda request: {}
    assert "stood before this command, and is left" in deploy(file, code=2)
    assert left(fake)[:3] == [1, 1, 1]


def test_a_run_without_questions_says_so(fake: FakeAws, exported: Exported, deploy: Command, tmp_path: Path) -> None:
    file = exported()
    (tmp_path / "toy" / "data" / "test.jsonl").write_text("")
    assert "warning: no smoke test: the run holds out no questions" in deploy(file)
    assert fake.asked("InvokeEndpoint") == []
