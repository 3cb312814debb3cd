"""Old checkpoints: what another attempt would not go on from is neither downloaded nor kept."""

import json
from collections.abc import Callable

import pytest
from fake_aws import FakeAws, client
from sagemaker_account import RunSft, Toy, keys

from calltune.config.run_file import Config
from calltune.errors import JobError
from calltune.launch.sagemaker.aws import Aws
from calltune.launch.sagemaker.checkpoints import thin_out
from calltune.launch.sagemaker.request import StageJob, checkpoints_uri
from calltune.launch.sagemaker.restored import SEAL, num_kept, prune, superfluous


def checkpoints(*steps: int, half: tuple[int, ...] = (), unsealed: tuple[int, ...] = ()) -> dict[str, bytes]:
    """The files of sealed checkpoints; those in `half` are cut off, and those in `unsealed` have no seal."""
    files = {}
    for step in steps:
        files[f"checkpoint-{step}/model.safetensors"] = b"half" if step in half else b"weights!"
        if step not in unsealed:
            files[f"checkpoint-{step}/{SEAL}"] = json.dumps({"model.safetensors": {"bytes": 8}}).encode()
    return files


@pytest.mark.parametrize(
    ("files", "keep", "old"),
    [
        (checkpoints(2, 4, 6, 10), 2, [2, 4]),
        (checkpoints(2, 10, 9), 1, [2, 9]),
        (checkpoints(2, 4, 6, 8, half=(8,)), 2, [2]),
        (checkpoints(2, 4, 6, 8, unsealed=(6, 8)), 2, []),
        (checkpoints(2, 4, half=(2, 4)), 1, []),
        (checkpoints(2, 4, 6), None, []),
        ({**checkpoints(2, 4), f"checkpoint-6/{SEAL}": b"[1]", "step.txt": b"6"}, 1, [2]),
        ({}, 2, []),
    ],
    ids=["older ones", "by number", "newest cut off", "not sealed", "none whole", "all kept", "no seal", "nothing"],
)
def test_what_is_older_than_the_newest_whole_ones(files: dict[str, bytes], keep: int | None, old: list[int]) -> None:
    sizes = {name: len(content) for name, content in files.items()}
    assert superfluous(sizes, files.__getitem__, keep) == [f"checkpoint-{step}" for step in old]


def test_how_many_a_stage_keeps() -> None:
    assert num_kept({}) == 2
    assert num_kept({"save_total_limit": 5}) == 5
    assert num_kept({"save_total_limit": 5, "load_best_model_at_end": True}) is None


def test_what_came_back_is_removed(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, content in checkpoints(2, 4, 6, 8, half=(8,)).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    prune(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-4", "checkpoint-6", "checkpoint-8"]
    assert "checkpoint-2 came back from S3, too; it is removed, as newer ones are whole" in capsys.readouterr().out


@pytest.fixture
def put_checkpoints(fake: FakeAws) -> Callable[..., None]:
    def put(config: Config, job: StageJob, files: dict[str, bytes]) -> None:
        prefix = checkpoints_uri(config, job).removeprefix("s3://toy-bucket/")
        for name, content in files.items():
            key = f"{prefix}/toy/sft/checkpoints/{name}"
            client("s3", fake.jobs.url).put_object(Bucket="toy-bucket", Key=key, Body=content)

    return put


def test_they_are_removed_from_the_bucket(
    fake: FakeAws, aws: Aws, toy: Toy, put_checkpoints: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    config, job = toy(), StageJob("sft", "0123456789abcdef" * 4, {})
    another = StageJob("sft", "f" * 64, {})
    put_checkpoints(config, job, checkpoints(2, 4, 6, 8, half=(8,)))
    put_checkpoints(config, another, checkpoints(2, 4, 6))
    thin_out(aws, config, job)
    steps = {key.split("/checkpoint-")[1].split("/")[0] for key in keys(fake, "checkpoints/sft-0123")}
    assert steps == {"4", "6", "8"}
    assert len(keys(fake, "checkpoints/sft-ffff")) == 6
    assert "sft: removed 1 old checkpoints from s3://toy-bucket/calltune/toy/checkpoints/" in capsys.readouterr().out
    thin_out(aws, toy("sft.load_best_model_at_end=true"), another)
    assert len(keys(fake, "checkpoints/sft-ffff")) == 6


def test_the_next_attempt_downloads_the_newest_alone(
    fake: FakeAws, toy: Toy, run_sft: RunSft, put_checkpoints: Callable[..., None]
) -> None:
    config = toy("sft.run_name=raise")
    with pytest.raises(JobError):
        run_sft(config)
    (name,) = fake.jobs.records
    prefix = fake.jobs.records[name]["CheckpointConfig"]["S3Uri"].removeprefix("s3://toy-bucket/")
    for file, content in checkpoints(2, 4, 6, 8).items():
        key = f"{prefix}/toy/sft/checkpoints/{file}"
        client("s3", fake.jobs.url).put_object(Bucket="toy-bucket", Key=key, Body=content)
    run_sft(config)
    assert {key.split("checkpoint-")[1].split("/")[0] for key in keys(fake, "/checkpoint-")} == {"6", "8"}
