"""The exported model in MLflow: where its folder is, a copy of it where that is asked for, and a registered version."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from calltune.config.run_file import Config
from calltune.files.mlflow_store import client_of, no_answer, one_line, quiet
from calltune.files.state import Tracking, read_state
from calltune.runtime.extras import INSTALL_TRAIN
from calltune.runtime.terminal import say

_EXPORT, _COPIED, _CHECKPOINT = "calltune.export", "calltune.export.copied", "calltune.checkpoint"


def track_export(config: Config, folder: Path, checkpoint: str, identity: str) -> None:
    """Tell the calltune run's MLflow run of an export; an export that was told of is not told of again.

    A store that does not answer costs a line: the export is whole without it.

    Args:
        identity: a hash of what the export is made of, by which it is known again.
    """
    ids, name = config.run_folder / "tracking.json", config.tracking.register_model
    why = ""
    if not config.tracking.mlflow or not ids.exists():
        why = "this run is not tracked by MLflow"
    elif find_spec("mlflow") is None:
        why = f"MLflow is not installed: {INSTALL_TRAIN}"
    if why:
        if name or config.tracking.log_model:
            say(f"warning: export: MLflow is not told of the model, as {why}")
        return
    try:
        with quiet():
            client, run_id = client_of(config), read_state(ids, Tracking)["parent"]
            source = _place(client, run_id, folder, identity, config.tracking.log_model)
            version = (
                _register(client, name, source, run_id, {_EXPORT: identity, _CHECKPOINT: checkpoint}) if name else 0
            )
    except no_answer() as error:
        say(f"warning: export: the tracking store does not take the model: {one_line(error)}")
        return
    if version:
        say(f"export: registered as version {version} of '{name}'")


def _place(client: Any, run_id: str, folder: Path, identity: str, copied: bool) -> str:
    """The address of the model: of a copy among the run's artifacts, or of the folder itself, which a tag names."""
    run = client.get_run(run_id)
    # Each model has a place of its own, so that a registered version stays what it was.
    place = f"export/{identity[:12]}"
    if copied and run.data.tags.get(_COPIED) != identity:
        client.log_artifacts(run_id, str(folder), place)
        client.log_text(run_id, _mlmodel(run_id, place), f"{place}/MLmodel")
        client.set_tag(run_id, _COPIED, identity)
    source = f"{run.info.artifact_uri}/{place}" if copied else folder.resolve().as_uri()
    client.set_tag(run_id, _EXPORT, source)
    return source


def _mlmodel(run_id: str, place: str) -> str:
    """MLflow's own description of the copy: what goes in and what comes out, which its pages show.

    It names a flavour of calltune's, as none of MLflow's takes messages with tools.
    """
    from mlflow.models import Model, ModelSignature
    from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Object, Property, Schema, TensorSpec

    content = Property("content", DataType.string, required=False)
    calls = Property("tool_calls", Array(AnyType()), required=False)
    message = Object([Property("role", DataType.string), content, calls])
    tools = ColSpec(Array(AnyType()), "tools", required=False)
    asked: list[ColSpec | TensorSpec] = [ColSpec(Array(message), "messages"), tools]
    signature = ModelSignature(inputs=Schema(asked), outputs=Schema([ColSpec(DataType.string, "answer")]))
    model = Model(artifact_path=place, run_id=run_id, signature=signature)
    model.add_flavor("calltune", data=".")
    return model.to_yaml()


def _register(client: Any, name: str, source: str, run_id: str, tags: dict[str, str]) -> int:
    """The version under which the registry holds the model: a new one, or the one that it has."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    for known in client.search_model_versions(f"name='{name}'"):
        if (known.tags.get(_EXPORT), known.source) == (tags[_EXPORT], source):
            return int(known.version)
    return int(client.create_model_version(name, source, run_id, tags=tags).version)
