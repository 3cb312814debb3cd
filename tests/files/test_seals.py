"""Seals of files: what is altered is found, and gigabytes are not read without need."""

import os
from pathlib import Path

import pytest

from calltune.files.hashes import file_sha256
from calltune.files.seals import BIG_BYTES, FileSeal, broken_seal, seal_files, sealed_sha256


def test_every_alteration_of_a_small_file_is_found(tmp_path: Path) -> None:
    file = tmp_path / "scores.jsonl"
    file.write_text("abc\n")
    seals = seal_files(tmp_path, ["scores.jsonl"])
    assert broken_seal(tmp_path, seals) is None
    before = file.stat()
    file.write_text("abd\n")
    # Also when somebody puts the time back.
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert broken_seal(tmp_path, seals) == "scores.jsonl was altered"
    file.write_text("ab\n")
    assert broken_seal(tmp_path, seals) == "scores.jsonl has 3 bytes of 4"
    file.unlink()
    assert broken_seal(tmp_path, seals) == "scores.jsonl is missing"


def test_a_big_file_is_read_again_only_when_its_size_or_time_changed(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    with file.open("wb") as weights:
        weights.truncate(BIG_BYTES)
    seals = seal_files(tmp_path, ["model.safetensors"])
    seal = seals["model.safetensors"]
    assert (seal.num_bytes, seal.mtime_ns) == (BIG_BYTES, file.stat().st_mtime_ns)
    # A hash that no content has shows that the file was not read.
    unread = FileSeal("0" * 64, seal.num_bytes, seal.mtime_ns)
    assert broken_seal(tmp_path, {"model.safetensors": unread}) is None
    assert sealed_sha256(file, unread) == "0" * 64
    os.utime(file, ns=(0, 0))
    assert broken_seal(tmp_path, {"model.safetensors": unread}) == "model.safetensors was altered"
    assert broken_seal(tmp_path, seals) is None
    assert sealed_sha256(file, unread) == sealed_sha256(file, None) == file_sha256(file)
    with file.open("r+b") as weights:
        weights.write(b"x")
    assert broken_seal(tmp_path, seals) == "model.safetensors was altered"


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "a\0b"])
def test_a_seal_names_files_of_its_folder(tmp_path: Path, name: str) -> None:
    problem = broken_seal(tmp_path, {name: FileSeal("0" * 64)})
    assert problem is not None
    assert problem.endswith("is no file of this folder")


def test_a_file_that_was_moved_to_another_disk_and_linked_is_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "sft"
    folder.mkdir()
    (folder / "model.safetensors").write_text("weights")
    seals = seal_files(folder, ["model.safetensors"])
    (folder / "model.safetensors").rename(tmp_path / "elsewhere")
    (folder / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    assert broken_seal(folder, seals) is None
