"""An exported model in MLflow's registry, read back from its sqlite store and its artifacts."""

from collections.abc import Callable
from pathlib import Path

import pytest

from calltune.config.run_file import Config, load_config
from calltune.files.registry import track_export
from calltune.files.tracking import track


@pytest.fixture
def exported(write_run_file: Callable[..., Path], tmp_path: Path) -> Callable[..., Config]:
    """A tracked run with a folder that stands for an export."""

    def export(*overrides: str) -> Config:
        config = load_config(write_run_file(), ["tracking.mlflow=true", *overrides])
        folder = config.run_folder / "export"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").write_bytes(b"weights")
        with track(config, "sft", {}):
            pass
        return config

    return export


@pytest.mark.parametrize("copied", [False, True])
def test_an_export_is_registered_once(
    exported: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str], copied: bool
) -> None:
    from mlflow.artifacts import download_artifacts
    from mlflow.models import Model
    from mlflow.tracking import MlflowClient

    config = exported("tracking.register_model=toy-agent", f"tracking.log_model={str(copied).lower()}")
    folder = config.run_folder / "export"
    for identity in ("a", "a", "b"):
        (folder / "model.safetensors").write_text(f"weights {identity}")
        track_export(config, folder, "sft", identity)
    out = capsys.readouterr().out
    assert out.count("export: registered as version 1 of 'toy-agent'") == 2
    assert out.count("export: registered as version 2 of 'toy-agent'") == 1
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    first, second = sorted(client.search_model_versions("name='toy-agent'"), key=lambda version: int(version.version))
    (parent,) = client.search_runs(["1"], "attributes.run_name = 'toy'")
    assert {first.run_id, second.run_id} == {parent.info.run_id}
    assert (first.tags["calltune.checkpoint"], first.status) == ("sft", "READY")
    assert parent.data.tags["calltune.export"] == second.source
    assert (second.source == folder.as_uri()) is not copied
    artifacts = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert artifacts == ({"export"} if copied else set())
    # A reference is to the folder as it is; a copy stays.
    for version, text in ((first, "weights a" if copied else "weights b"), (second, "weights b")):
        place = tmp_path / f"version-{version.version}"
        place.mkdir()
        there = Path(download_artifacts(version.source, dst_path=str(place)))
        assert (there / "model.safetensors").read_text() == text
    if copied:
        signature = Model.load(there).signature
        assert signature is not None
        assert [(each.name, each.required) for each in signature.inputs.inputs] == [
            ("messages", True),
            ("tools", False),
        ]
        assert [each.name for each in signature.outputs.inputs] == ["answer"]


def test_what_is_not_tracked_is_not_registered_and_that_is_told(
    exported: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = exported("tracking.mlflow=false", "tracking.register_model=toy-agent")
    track_export(config, config.run_folder / "export", "sft", "a")
    assert "warning: export: MLflow is not told of the model, as this run is not tracked" in capsys.readouterr().out
    config = exported("tracking.register_model=toy-agent")
    database = tmp_path / "runs" / "mlflow.db"
    database.unlink()
    database.mkdir()
    track_export(config, config.run_folder / "export", "sft", "a")
    assert "warning: export: the tracking store does not take the model: " in capsys.readouterr().out
