"""What MLflow is told of a run, in keys and values that it takes: the run file's own keys, and the commit."""

import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from calltune.config.run_file import Config
from calltune.config.secrets import HIDDEN, conceal, names_secret
from calltune.files.json_lines import json_text

# MLflow's own bounds; those of values and tags are of its older servers.
_CHARACTERS_OF_KEY, _CHARACTERS_OF_VALUE, _CHARACTERS_OF_TAG, _CHARACTERS_OF_DIGEST = 250, 500, 5000, 36
PARAMETERS_AT_ONCE = 100
_CHANGED_KEYS = "calltune.changed_keys"
_SECONDS_FOR_GIT = 10


def tell_parent(client: Any, run_id: str, config: Config) -> None:
    """Record the run file's own keys and the commit with a calltune run's MLflow run.

    MLflow lets no parameter be told anew, so keys that have changed since the first time stand in a tag of their own.
    """
    from mlflow.entities import Param, RunTag

    data = client.get_run(run_id).data
    new = [Param(*pair) for pair in as_parameters(_written_keys(config)).items() if pair[0] not in data.params]
    for start in range(0, len(new), PARAMETERS_AT_ONCE):
        client.log_batch(run_id, params=new[start : start + PARAMETERS_AT_ONCE])
    tags = _commit_tags()
    if changed := _changed_keys(data.params, as_parameters(_every_key(config))):
        tags[_CHANGED_KEYS] = changed
    elif _CHANGED_KEYS in data.tags:
        client.delete_tag(run_id, _CHANGED_KEYS)
    client.log_batch(run_id, tags=[RunTag(*pair) for pair in tags.items()])


def dataset_input(name: str, sha256: str, path: str, context: str) -> Any:
    """Rows as MLflow's input of a run.

    Args:
        path: a file, a Hub id, or empty for rows that a module makes.
        context: what they are read for.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    kind = "code" if not path else "hugging_face" if path.count("/") == 1 and not Path(path).exists() else "local"
    source: dict[str, Any] = {"code": {"tags": {}}, "hugging_face": {"path": path}, "local": {"uri": path}}[kind]
    dataset = Dataset(name, sha256[:_CHARACTERS_OF_DIGEST], kind, json_text(source))
    return DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, context)])


def log_table(client: Any, run_id: str, name: str, columns: Mapping[str, Sequence[str]]) -> None:
    """Keep a table that MLflow's evaluation page shows, in the place of one of that name.

    `MlflowClient.log_table` has the same layout, but adds rows to a table that is there.
    """
    from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS

    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    client.log_dict(run_id, {"columns": list(columns), "data": rows}, name)
    client.set_tag(run_id, MLFLOW_LOGGED_ARTIFACTS, json_text([{"path": name, "type": "table"}]))


def _written_keys(config: Config) -> dict[str, Any]:
    """The keys that stand in the run file or were laid over it, flattened: `sft.max_steps`, `data.sources.0.name`."""
    words = shlex.split(config.words)
    # A run file that calltune wrote for processes and jobs of its own holds every key there is.
    is_whole = bool(words) and words[0].endswith(".json")
    return dict(_flat(config.model_dump(mode="json", exclude_unset=True, exclude_defaults=is_whole)))


def _every_key(config: Config) -> dict[str, Any]:
    """All keys of a run file with the values that hold, flattened as `_written_keys` are."""
    return dict(_flat(config.model_dump(mode="json")))


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        value = dict(enumerate(value))
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, json_text(value) if isinstance(value, list | Mapping) else value


def as_parameters(values: Mapping[str, Any]) -> dict[str, str]:
    """Values as text of at most 500 characters, under keys of which MLflow takes every one; secrets are `***`."""
    return {as_key(key): _text(key.rpartition(".")[2], value) for key, value in values.items()}


def as_key(name: str) -> str:
    """A name as MLflow takes it for a parameter or a metric."""
    return re.sub(r"[^\w./: -]", "_", name)[:_CHARACTERS_OF_KEY]


def _text(name: str, value: Any) -> str:
    return HIDDEN if value and names_secret(name) else conceal(str(value))[:_CHARACTERS_OF_VALUE]


def _changed_keys(told: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The parameters that were told once and hold no more, a line each; MLflow does not let them be told anew."""
    changed = {key: now.get(key, "not set") for key, value in told.items() if now.get(key, "not set") != value}
    return "\n".join(f"{key} = {value}" for key, value in changed.items())[:_CHARACTERS_OF_TAG]


def _commit_tags() -> dict[str, str]:
    """MLflow's tags of the git commit of the current directory; none where it is no checkout, or git is missing."""
    from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_GIT_DIRTY

    code, commit = _git("rev-parse", "--verify", "HEAD")
    if code != 0:
        return {}
    code, _ = _git("diff", "--quiet", "HEAD")
    return {MLFLOW_GIT_COMMIT: commit, **({MLFLOW_GIT_DIRTY: str(code == 1).lower()} if code in (0, 1) else {})}


def _git(*words: str) -> tuple[int, str]:
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, timeout=_SECONDS_FOR_GIT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return -1, ""
    return done.returncode, done.stdout.strip()
