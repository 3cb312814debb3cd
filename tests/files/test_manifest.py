from pathlib import Path

import pytest

from calltune.config.data import DataConfig
from calltune.config.entries import SourceEntry
from calltune.config.run_file import Config
from calltune.errors import RunFolderError
from calltune.files import manifest
from calltune.files.json_lines import read_json, write_json
from calltune.files.lock_file import LOCK


def config(output: Path, model: str = "m") -> Config:
    return Config(
        name="toy", model=model, output=str(output), data=DataConfig(sources=(SourceEntry(name="synthetic"),))
    )


def test_complete_means_the_same_inputs(tmp_path: Path) -> None:
    folder, inputs = tmp_path / "sft", {"rows": "a", "settings": [1, 2]}
    assert not manifest.is_complete(folder, inputs)
    assert manifest.begin(folder, inputs) is None
    assert not manifest.is_complete(folder, inputs)
    manifest.finish(folder, inputs, counts={"rows": 3})
    assert manifest.is_complete(folder, inputs)
    assert not manifest.is_complete(folder, {**inputs, "rows": "b"})
    written = read_json(folder / "manifest.json")
    assert written["counts"] == {"rows": 3}
    assert written["versions"]["calltune"]


def test_an_interrupted_stage_is_kept_and_a_changed_one_moved_aside(tmp_path: Path) -> None:
    folder = tmp_path / "sft"
    manifest.begin(folder, {"rows": "a"})
    (folder / "half").write_text("x")
    assert manifest.begin(folder, {"rows": "a"}) is None
    assert (folder / "half").exists()
    moved = manifest.begin(folder, {"rows": "b"})
    assert moved == "sft: rows changed since it was made; the old one is kept as sft.old-1"
    assert (tmp_path / "sft.old-1" / "half").exists()
    assert not (folder / "half").exists()


def test_a_run_folder_belongs_to_one_model(tmp_path: Path) -> None:
    manifest.claim_run_folder(config(tmp_path))
    manifest.claim_run_folder(config(tmp_path))
    with pytest.raises(RunFolderError, match="belongs to a run of model 'm', not 'other'"):
        manifest.claim_run_folder(config(tmp_path, "other"))


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "thesis.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="not empty and not a calltune run"):
        manifest.claim_run_folder(config(tmp_path))
    assert [path.name for path in (tmp_path / "toy").iterdir()] == ["thesis.txt"]
    # What a command leaves that is killed before it wrote anything else.
    (tmp_path / "toy" / "thesis.txt").rename(tmp_path / "toy" / LOCK)
    manifest.claim_run_folder(config(tmp_path))


def test_a_model_is_known_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    before = manifest.model_sha256(str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "manifest.json").write_text("{}")
    assert manifest.model_sha256(str(tmp_path)) == before
    (tmp_path / "config.json").write_text("{ }")
    assert manifest.model_sha256(str(tmp_path)) != before
    assert manifest.model_sha256("owner/name") == "owner/name"


def test_a_damaged_manifest_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(RunFolderError, match="is damaged"):
        manifest.is_complete(tmp_path, {})
    with pytest.raises(RunFolderError, match="is missing"):
        read_json(tmp_path / "no.json")


def finished(folder: Path) -> Path:
    manifest.begin(folder, {"rows": "a"})
    (folder / "model.bin").write_text("weights")
    (folder / ".model.bin.half").write_text("what a killed process left")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "old").write_text("x")
    manifest.finish(folder, {"rows": "a"})
    return folder


def test_complete_means_the_files_as_they_were_sealed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = finished(tmp_path / "sft")
    assert manifest.read_manifest(folder)["bytes"] == {"model.bin": 7}
    (folder / "notes.txt").write_text("what the user adds is not looked at")
    assert manifest.is_complete(folder, {"rows": "a"})
    assert capsys.readouterr().out == ""
    (folder / "model.bin").write_text("weight")
    assert not manifest.is_complete(folder, {"rows": "a"})
    assert capsys.readouterr().out == (
        f"{folder}: model.bin has 6 bytes of 7: it is not as it was sealed, so the stage is not complete\n"
    )
    moved = manifest.begin(folder, {"rows": "a"})
    assert moved == "sft: its files changed since it was made; the old one is kept as sft.old-1"
    assert (tmp_path / "sft.old-1" / "model.bin").read_text() == "weight"


def test_files_that_can_be_mended_stay(tmp_path: Path) -> None:
    folder = finished(tmp_path / "answers")
    (folder / "model.bin").unlink()
    assert manifest.begin(folder, {"rows": "a"}, keep_files=True) is None
    assert not (folder / "manifest.json").exists()
    assert (folder / "checkpoints").exists()


def test_a_stage_of_an_older_version_is_complete_by_what_that_sealed(tmp_path: Path) -> None:
    folder = finished(tmp_path / "data")
    old = manifest.read_manifest(folder)
    for key in ("bytes", "mtime_ns"):
        del old[key]
    write_json(folder / "manifest.json", old)
    assert manifest.is_complete(folder, {"rows": "a"})
    (folder / "model.bin").write_text("wEights")
    assert not manifest.is_complete(folder, {"rows": "a"})
    del old["sha256"]
    write_json(folder / "manifest.json", old)
    assert manifest.is_complete(folder, {"rows": "a"})
    assert not manifest.is_complete(folder, {"rows": "a"}, "scores.jsonl")


def test_a_damaged_config_json_may_be_removed_and_what_was_made_stays(tmp_path: Path) -> None:
    config = Config(name="toy", model="m", output=str(tmp_path), data={"sources": [{"name": "synthetic"}]})
    folder = manifest.claim_run_folder(config)
    manifest.begin(folder / "data", {"seed": 0})
    manifest.finish(folder / "data", {"seed": 0})
    (folder / "config.json").write_text('{"cut')
    with pytest.raises(RunFolderError, match=r"is damaged; if the folder is this run's own, remove this file and run"):
        manifest.claim_run_folder(config)
    (folder / "config.json").unlink()
    assert manifest.claim_run_folder(config) == folder
    assert manifest.is_complete(folder / "data", {"seed": 0})
    # A stranger's folder stays a stranger's.
    (tmp_path / "other" / "photos").mkdir(parents=True)
    other = config.model_copy(update={"name": "other"})
    with pytest.raises(RunFolderError, match="is not empty and not a calltune run"):
        manifest.claim_run_folder(other)


def test_a_stage_that_was_altered_is_no_model_and_no_data(tmp_path: Path) -> None:
    folder = tmp_path / "sft"
    manifest.begin(folder, {})
    (folder / "model.safetensors").write_text("weights")
    (folder / "history.json").write_text("{}")
    manifest.finish(folder, {})
    before = manifest.model_sha256(str(folder))
    (folder / "history.json").unlink()
    assert manifest.model_sha256(str(folder)) == before
    manifest.require_sealed(folder)
    (folder / "model.safetensors").write_text("weighty")
    line = f"{folder}: model.safetensors was altered: it is not as it was sealed; run "
    for look in (lambda: manifest.model_sha256(str(folder)), lambda: manifest.require_sealed(folder)):
        with pytest.raises(RunFolderError, match=f"^{line}"):
            look()
    (folder / "model.safetensors").unlink()
    with pytest.raises(RunFolderError, match=r"model\.safetensors is missing: it is not as it was sealed"):
        manifest.model_sha256(str(folder))
