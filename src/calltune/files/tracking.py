"""MLflow behind one small door: one run for a whole calltune run, a child run for each stage, or nothing at all.

The runs' ids are kept in `tracking.json` in the run's folder, so a killed stage goes on in its own run, and a stage
that is done anew, because something changed, has a new one. Only the first of several processes tracks.
"""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from calltune.config.run_file import Config
from calltune.errors import ConfigError
from calltune.files.hashes import value_sha256
from calltune.files.json_lines import write_json
from calltune.files.mlflow_store import address, client_of, experiment_id, no_answer, one_line, quiet
from calltune.files.state import Tracking, read_state
from calltune.files.system_metrics import measured
from calltune.files.tracked import PARAMETERS_AT_ONCE, as_key, as_parameters, dataset_input, log_table, tell_parent
from calltune.runtime.extras import INSTALL_TRAIN
from calltune.runtime.processes import processes
from calltune.runtime.stopping import Stopped
from calltune.runtime.terminal import say

_SECONDS_BETWEEN_SENDS = 5.0
_SECONDS_BEFORE_NEXT_TRY = 60.0
# MLflow's own bound for one request.
_METRICS_AT_ONCE = 1000


class Tracker:
    """Writes to the MLflow run that `track` opened; without one, writes nothing.

    When the store does not answer, one line says so, numbers are kept, and training goes on.
    """

    def __init__(
        self,
        client: Any = None,
        run_id: str = "",
        first_step: int = 0,
        parameters: Collection[str] = (),
        parent: str | None = None,
    ) -> None:
        self._client, self._run_id, self._first_step, self._told = client, run_id, first_step, parameters
        self._parent = parent
        self._waiting: list[tuple[str, Any]] = []
        self._next_send = 0.0
        self._answers = True

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Record what the stage was told; values are shown as text, cut at 500 characters, and no secret is."""
        new = {key: text for key, text in as_parameters(values).items() if key not in self._told}
        self._waiting += [("param", pair) for pair in new.items()]
        self._send()

    def dataset(self, path: str, sha256: str, context: str, name: str = "") -> None:
        """Record rows that the stage reads, with the run and its parent.

        Args:
            path: the file of the rows, the Hub id, or empty for rows that a module makes.
            context: what they are read for: `training`, `validation` or `evaluation`.
            name: by default the file's name.
        """
        self._waiting.append(("dataset", (name or Path(path).name, sha256, path, context)))
        self._send()

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags, over those of the same names."""
        self._waiting += [("tag", pair) for pair in values.items()]
        self._send()

    def metrics(self, values: Mapping[str, Any], step: int = 0) -> None:
        """Record the numbers among `values` at a training step; steps that the run holds already are left out."""
        if step >= self._first_step:
            now = int(time.time() * 1000)
            numbers = {k: float(v) for k, v in values.items() if isinstance(v, int | float) and not isinstance(v, bool)}
            self._waiting += [("metric", (as_key(key), value, now, step)) for key, value in numbers.items()]
        if time.monotonic() >= self._next_send:
            self._send()

    def file(self, path: Path) -> None:
        """Keep a file with the run, when it is there."""
        if path.exists():
            self._waiting.append(("file", str(path)))
            self._send()

    def table(self, name: str, columns: Mapping[str, Sequence[str]]) -> None:
        """Keep a table with the run, for MLflow's evaluation page; `columns` are of one length."""
        self._waiting.append(("table", (name, columns)))
        self._send()

    def end(self, status: str) -> bool:
        """Send what is left and end the run as FINISHED, FAILED or KILLED; whether the store took it."""
        self._waiting.append(("status", status))
        self._send()
        return self._answers

    def _send(self) -> None:
        if self._client is None:
            self._waiting.clear()
            return
        try:
            self._send_all()
        except no_answer() as error:
            if self._answers:
                say(f"warning: the tracking store does not answer, training goes on without it: {one_line(error)}")
            self._answers, self._next_send = False, time.monotonic() + _SECONDS_BEFORE_NEXT_TRY
        else:
            self._answers, self._next_send = True, time.monotonic() + _SECONDS_BETWEEN_SENDS

    def _send_all(self) -> None:
        from mlflow.entities import Metric, Param, RunTag

        parameters = [Param(*value) for kind, value in self._waiting if kind == "param"]
        for start in range(0, len(parameters), PARAMETERS_AT_ONCE):
            self._client.log_batch(self._run_id, params=parameters[start : start + PARAMETERS_AT_ONCE])
        metrics = [Metric(*value) for kind, value in self._waiting if kind == "metric"]
        for start in range(0, len(metrics), _METRICS_AT_ONCE):
            self._client.log_batch(self._run_id, metrics=metrics[start : start + _METRICS_AT_ONCE])
        if tags := [RunTag(*value) for kind, value in self._waiting if kind == "tag"]:
            self._client.log_batch(self._run_id, tags=tags)
        if inputs := [dataset_input(*value) for kind, value in self._waiting if kind == "dataset"]:
            for run_id in filter(None, (self._run_id, self._parent)):
                self._client.log_inputs(run_id, inputs)
        for kind, value in self._waiting:
            if kind == "file":
                self._client.log_artifact(self._run_id, value)
            if kind == "table":
                log_table(self._client, self._run_id, *value)
        for kind, value in self._waiting:
            if kind == "status":
                self._client.set_terminated(self._run_id, status=value)
        self._waiting.clear()


@contextmanager
def track(config: Config, stage: str, inputs: Mapping[str, Any]) -> Iterator[Tracker]:
    """The stage's MLflow run, a child of the calltune run's; the same one again when `inputs` are what they were.

    Without `tracking.uri` it goes to `mlflow.db` in the output folder: `mlflow ui --backend-store-uri sqlite:///...`
    A stage that fails leaves its run marked FAILED, one that was stopped KILLED.

    Raises:
        ConfigError: the tracking store cannot be reached, or `tracking.uri` is no address of one.
    """
    if not config.tracking.mlflow:
        yield Tracker()
        return
    opened = processes().first(lambda: _open(config, stage, inputs))
    if processes().rank > 0:
        yield Tracker()
        return
    with quiet():
        client = client_of(config)
    parent = Tracker(client, opened["parent"])
    child = Tracker(client, opened["child"], opened["first_step"], opened["parameters"], opened["parent"])
    status = "FAILED"
    try:
        with measured(opened["child"], address(config)):
            yield child
        status = "FINISHED"
    except (KeyboardInterrupt, Stopped):
        status = "KILLED"
        raise
    finally:
        with quiet():
            if child.end(status):
                parent.end(status)


def track_report(config: Config, figures: Mapping[str, float], tags: Mapping[str, str]) -> None:
    """Keep the report, its figures and its verdict with the calltune run, when that was tracked."""
    ids = config.run_folder / "tracking.json"
    if not config.tracking.mlflow or not ids.exists():
        return
    if find_spec("mlflow") is None:
        say(f"warning: the report is not kept with the MLflow run, as MLflow is not installed: {INSTALL_TRAIN}")
        return
    with quiet():
        tracker = Tracker(client_of(config), read_state(ids, Tracking)["parent"])
        tracker.metrics(figures)
        tracker.tags(tags)
        for name in ("report.json", "report.html"):
            tracker.file(config.run_folder / name)


def _open(config: Config, stage: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Find or make the two runs: their ids, the child's parameters, and the step from which its numbers are new."""
    from filelock import FileLock

    path, identity = config.run_folder / "tracking.json", value_sha256(dict(inputs))
    store = config.tracking.uri or "mlflow.db"
    known = read_state(path, Tracking) if path.exists() else {}
    if known.get("store") != [store, config.tracking.experiment]:
        known = {"store": [store, config.tracking.experiment], "parent": None, "stages": {}}
    try:
        # Runs that begin together may not make one database, or one experiment, twice.
        with quiet(), FileLock(Path(config.output).resolve() / ".mlflow.lock"):
            client = client_of(config)
            experiment = experiment_id(client, config)
            known["parent"] = _run(client, experiment, known["parent"], config.name, {})
            tell_parent(client, known["parent"], config)
            before = known["stages"].get(stage, {})
            tags = {"mlflow.parentRunId": known["parent"], "calltune.stage": stage}
            old = before["run"] if before.get("inputs") == identity else None
            child = _run(client, experiment, old, f"{config.name}-{stage}", tags)
            steps = [metric.step for metric in client.get_metric_history(child, "loss")]
            parameters = sorted(client.get_run(child).data.params)
    except no_answer() as error:
        raise ConfigError(f"'tracking.uri': {store} cannot be used: {one_line(error)}") from error
    known["stages"][stage] = {"run": child, "inputs": identity}
    write_json(path, known, private=True)
    return {
        "parent": known["parent"],
        "child": child,
        "first_step": max(steps, default=0),
        "parameters": parameters,
    }


def _run(client: Any, experiment: str, run_id: str | None, name: str, tags: Mapping[str, str]) -> str:
    """The run of that id, running again; a new one when there is none, or when it was deleted."""
    from mlflow.exceptions import MlflowException

    if run_id is not None:
        try:
            if client.get_run(run_id).info.lifecycle_stage == "active":
                client.update_run(run_id, status="RUNNING")
                return run_id
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
    return client.create_run(experiment, run_name=name, tags=dict(tags)).info.run_id
