"""Names from outside: object keys, members of archives."""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from calltune.errors import RunFolderError
from calltune.files.paths import inside, unpack


@pytest.mark.parametrize("name", ["model.safetensors", "adapter/config.json", "..data", "a..b/c", "./x", "sub/"])
def test_a_name_leads_into_its_folder(tmp_path: Path, name: str) -> None:
    assert inside(tmp_path / "sft", name) == tmp_path / "sft" / name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "../../x", "a/../../x", "a/..", "/etc/passwd", "//etc/passwd", "a\0b", "\0"]
)
def test_a_name_that_leads_elsewhere_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunFolderError, match="does not lead into this folder") as caught:
        inside(tmp_path / "sft", name)
    assert "\n" not in str(caught.value)
    assert "\0" not in str(caught.value)


def test_a_link_does_not_lead_out(tmp_path: Path) -> None:
    folder = tmp_path / "sft"
    folder.mkdir()
    (folder / "out").symlink_to(tmp_path)
    (folder / "within").symlink_to(folder)
    (tmp_path / "also").symlink_to(folder)
    with pytest.raises(RunFolderError, match="leads out of this folder through a link"):
        inside(folder, "out/x")
    assert inside(folder, "within/x") == folder / "within" / "x"
    # The folder itself may be reached through one.
    assert inside(tmp_path / "also", "x") == tmp_path / "also" / "x"


def member(name: str, **traits: object) -> Callable[[tarfile.TarFile], None]:
    def add(tar: tarfile.TarFile) -> None:
        entry = tarfile.TarInfo(name)
        entry.size = 2 if not traits else 0
        for trait, value in traits.items():
            setattr(entry, trait, value)
        tar.addfile(entry, io.BytesIO(b"{}"[: entry.size]))

    return add


SLIPS = {
    "above": member("../evil"),
    "far above": member("a/../../evil"),
    "an absolute link": member("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "a link that leads above": member("link", type=tarfile.SYMTYPE, linkname="../../evil"),
    "a hard link that leads above": member("link", type=tarfile.LNKTYPE, linkname="../evil"),
    "a device": member("zero", type=tarfile.CHRTYPE),
    "a pipe": member("pipe", type=tarfile.FIFOTYPE),
}


@pytest.mark.parametrize("slip", SLIPS.values(), ids=list(SLIPS))
def test_a_member_that_leads_elsewhere_is_one_line(tmp_path: Path, slip: Callable[[tarfile.TarFile], None]) -> None:
    archive, folder = tmp_path / "model.tar.gz", tmp_path / "there" / "sft"
    folder.mkdir(parents=True)
    with tarfile.open(archive, "w:gz") as tar:
        slip(tar)
    with pytest.raises(RunFolderError, match="does not lead into this folder") as caught:
        unpack(archive, folder)
    assert "\n" not in str(caught.value)
    assert list(folder.parent.iterdir()) == [folder]
    assert list(folder.iterdir()) == []


def test_what_is_whole_is_unpacked_and_a_part_of_it_is_one_line(tmp_path: Path) -> None:
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        member("model.safetensors")(tar)
        # Written without its slash, as GNU tar does, it stays inside.
        member("/adapter/adapter_config.json")(tar)
    unpack(archive, tmp_path / "sft")
    assert (tmp_path / "sft" / "model.safetensors").read_text() == "{}"
    assert (tmp_path / "sft" / "adapter" / "adapter_config.json").read_text() == "{}"
    whole = archive.read_bytes()
    for broken in (whole[:40], b"", b"not an archive", gzip.compress(b"neither")):
        archive.write_bytes(broken)
        with pytest.raises(RunFolderError, match="no whole archive") as caught:
            unpack(archive, tmp_path / "sft")
        assert "\n" not in str(caught.value)
