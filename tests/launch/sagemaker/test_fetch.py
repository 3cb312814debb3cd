"""What is brought from a bucket: whole or an error, and never outside its folder."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_aws import FakeAws, client
from sagemaker_account import Toy

from calltune.config.run_file import Config
from calltune.errors import CalltuneError
from calltune.launch.sagemaker.aws import Aws
from calltune.launch.sagemaker.fetch import fetch

ARCHIVE = "calltune/toy/output/model.tar.gz"
PREFIX = "calltune/toy/output/model/"


def a_job(place: str) -> dict:
    """As plain moto answers of a completed job."""
    return {"TrainingJobName": "toy-sft-1", "ModelArtifacts": {"S3ModelArtifacts": f"s3://toy-bucket/{place}"}}


@pytest.fixture
def put(fake: FakeAws) -> Callable[..., None]:
    return lambda key, body=b"{}": client("s3", fake.jobs.url).put_object(Bucket="toy-bucket", Key=key, Body=body)


@pytest.fixture
def refused(aws: Aws, toy: Toy) -> Callable[[str], tuple[str, Config]]:
    """The one line with which a job's artefact is refused; nothing may be left of it, and nothing moved aside."""

    def run(place: str) -> tuple[str, Config]:
        config = toy()
        old = config.run_folder / "sft"
        old.mkdir()
        (old / "manifest.json").write_text("old")
        before = set(config.run_folder.parents[1].rglob("*"))
        with pytest.raises(CalltuneError) as error:
            fetch(aws, config, "sft", a_job(place))
        assert set(config.run_folder.parents[1].rglob("*")) == before
        assert (old / "manifest.json").read_text() == "old"
        assert len(str(error.value).splitlines()) == 1
        return str(error.value), config

    return run


@pytest.mark.parametrize("place", [ARCHIVE, PREFIX, PREFIX.rstrip("/"), ""], ids=["archive", "prefix", "bare", "none"])
def test_an_artefact_without_objects_is_an_error(refused: Callable[..., tuple], place: str) -> None:
    assert "job 'toy-sft-1' is complete, but what it made is not there; run sft again" in refused(place)[0]


def test_the_consoles_folders_alone_are_no_artefact(refused: Callable[..., tuple], put: Callable[..., None]) -> None:
    put(PREFIX, b"")
    put(f"{PREFIX}sub/", b"")
    assert "what it made is not there" in refused(PREFIX)[0]


def test_the_consoles_folders_are_passed_over(aws: Aws, toy: Toy, put: Callable[..., None]) -> None:
    for name, body in {"": b"", "sub/": b"", "sub/x.json": b"{}", "manifest.json": b"{}"}.items():
        put(PREFIX + name, body)
    folder = fetch(aws, toy(), "sft", a_job(PREFIX))
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) == ["manifest.json", "sub", "sub/x.json"]


@pytest.mark.parametrize("name", ["../../evil", "a/../../../evil", "/abs/evil", "..", "sub/../../evil"])
def test_a_key_that_leads_out_of_the_folder_is_one_line(
    refused: Callable[..., tuple], put: Callable[..., None], name: str
) -> None:
    put(f"{PREFIX}manifest.json")
    put(PREFIX + name)
    line, config = refused(PREFIX)
    assert f"the name {name!r} does not lead into this folder" in line
    assert not list(config.run_folder.parents[1].rglob("evil"))


def test_a_key_that_is_a_file_and_a_folder_is_one_line(refused: Callable[..., tuple], put: Callable[..., None]) -> None:
    for name in ("manifest.json", "a", "a/b"):
        put(PREFIX + name)
    assert "is a file and a folder at once" in refused(PREFIX)[0]


def tar(**entries: tarfile.TarInfo) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w:gz") as archive:
        for entry in entries.values():
            archive.addfile(entry)
    return plain.getvalue()


def entry(name: str, link: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    if link:
        found.type, found.linkname = tarfile.SYMTYPE, link
    return found


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (tar(a=entry("manifest.json"), b=entry("../evil")), "'../evil' does not lead into this folder"),
        (tar(a=entry("manifest.json"), b=entry("link", "/etc/passwd")), "'link' does not lead into this folder"),
        (tar(a=entry("manifest.json"))[:40], "is no whole archive"),
        (b"no tar at all", "is no whole archive"),
        (b"", "is no whole archive"),
        (tar(a=entry("model.safetensors")), "holds no manifest.json; run sft again"),
    ],
    ids=["above", "absolute link", "cut off", "garbage", "empty", "no manifest"],
)
def test_an_archive_that_is_wrong_is_one_line(
    refused: Callable[..., tuple], put: Callable[..., None], body: bytes, told: str
) -> None:
    put(ARCHIVE, body)
    assert told in refused(ARCHIVE)[0]


def test_an_archive_is_unpacked(aws: Aws, toy: Toy, put: Callable[..., None], tmp_path: Path) -> None:
    put(ARCHIVE, tar(a=entry("manifest.json"), b=entry("adapter/x.json")))
    # A key that only begins alike.
    put(f"{ARCHIVE}.old", b"another's")
    folder = fetch(aws, toy(), "sft", a_job(ARCHIVE))
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) == [
        "adapter",
        "adapter/x.json",
        "manifest.json",
    ]
