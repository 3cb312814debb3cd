"""Only what was written to its end is resumed from, and what cannot be written is one line."""

import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from calltune.errors import RunFolderError
from calltune.files.disk import writing_to
from calltune.files.json_lines import atomic_writer
from calltune.training.checkpoints import SEAL, damage, newest_whole, seal


def checkpoint(folder: Path, step: int) -> Path:
    place = folder / f"checkpoint-{step}"
    (place / "deeper").mkdir(parents=True)
    for name in ("model.safetensors", "trainer_state.json", "deeper/rng_state_0.pth"):
        (place / name).write_bytes(f"{name} of {step}".encode())
    seal(place)
    return place


def cut(place: Path) -> None:
    (place / "model.safetensors").write_bytes(b"model")


def alter(place: Path) -> None:
    data = bytearray((place / "model.safetensors").read_bytes())
    data[3] ^= 1
    (place / "model.safetensors").write_bytes(data)


DAMAGES: list[tuple[Callable[[Path], object], str]] = [
    (lambda place: (place / SEAL).unlink(), "it was not written to its end"),
    (lambda place: (place / SEAL).write_text('{"model'), "complete.json cannot be read"),
    (lambda place: (place / SEAL).write_text('["model.safetensors"]'), "complete.json cannot be read"),
    (lambda place: (place / SEAL).write_text('{"x": {"bytes": "1", "sha256": "0"}}'), "complete.json cannot be read"),
    (lambda place: (place / "deeper" / "rng_state_0.pth").unlink(), "deeper/rng_state_0.pth is missing"),
    (cut, "model.safetensors has 5 bytes of 24"),
    (alter, "model.safetensors was altered"),
]


@pytest.mark.parametrize(
    ("spoil", "problem"), DAMAGES, ids=["unsealed", "seal", "list", "size", "missing", "cut", "altered"]
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    spoil: Callable[[Path], object], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (5, 100):
        checkpoint(tmp_path, step)
    last = checkpoint(tmp_path, 20)
    (last / SEAL).with_name("training_args.bin").touch()
    seal(last)
    assert not (last / "training_args.bin").exists()
    whole = newest_whole(tmp_path, "dpo")
    assert whole is not None
    assert whole.name == "checkpoint-100"
    assert capsys.readouterr().out == ""
    spoil(whole)
    assert newest_whole(tmp_path, "dpo") == last
    assert capsys.readouterr().out == f"warning: dpo: checkpoint-100 cannot be used, {problem}; it is removed\n"
    assert not whole.exists()
    assert damage(tmp_path / "checkpoint-5") is None
    assert newest_whole(tmp_path / "none", "dpo") is None


@pytest.mark.parametrize("kind", ["torch", "safetensors", "json"])
def test_a_full_disk_is_one_line(kind: str, tmp_path: Path) -> None:
    """A bound on file sizes fails writes as a full disk does, half-way."""
    weights = torch.zeros(100_000)

    def write() -> None:
        with writing_to(tmp_path):
            if kind == "torch":
                torch.save(weights, tmp_path / "optimizer.pt")
            elif kind == "safetensors":
                save_file({"weights": weights}, tmp_path / "model.safetensors")
            else:
                with atomic_writer(tmp_path / "history.json") as file:
                    file.write("x" * 400_000)

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(RunFolderError, match=f"{tmp_path}: cannot be written: ") as caught:
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    def fail(error: Exception) -> None:
        with writing_to(tmp_path):
            raise error

    with pytest.raises(RuntimeError, match="out of memory"):
        fail(RuntimeError("out of memory"))
    with pytest.raises(PermissionError):
        fail(PermissionError(13, "Permission denied", "/elsewhere/model.safetensors"))
