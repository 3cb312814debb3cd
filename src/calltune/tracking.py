"""MLflow behind one small door: a run per stage, in a sqlite file unless another store is named, or nothing at all."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from calltune.config import Config


class Tracker:
    """Writes to the MLflow run that `track` opened; without one, writes nothing."""

    def __init__(self, client: Any = None, run_id: str = "") -> None:
        self._client, self._run_id = client, run_id

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Record what the stage was told; values are shown as text, cut at MLflow's 500 characters."""
        for key, value in values.items():
            if self._client:
                self._client.log_param(self._run_id, key, str(value)[:500])

    def metrics(self, values: Mapping[str, Any], step: int = 0) -> None:
        """Record the numbers among `values` at a training step."""
        for key, value in values.items():
            if self._client and isinstance(value, int | float) and not isinstance(value, bool):
                self._client.log_metric(self._run_id, key, float(value), step=step)


@contextmanager
def track(config: Config, stage: str) -> Iterator[Tracker]:
    """An MLflow run named `<run>-<stage>` around a stage; a stage that fails leaves its run marked FAILED.

    Without `tracking.uri` it goes to `mlflow.db` in the output folder: `mlflow ui --backend-store-uri sqlite:///...`
    """
    tracking = config.tracking
    if not tracking.mlflow:
        yield Tracker()
        return
    with warnings.catch_warnings():
        # MLflow's own imports warn of their dependencies; none of it is the user's to mend.
        warnings.simplefilter("ignore")
        from filelock import FileLock
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        folder = Path(config.output).resolve()
        # Runs that begin together may not make one database, or one experiment, twice.
        with FileLock(folder / ".mlflow.lock"):
            client = MlflowClient(tracking_uri=tracking.uri or f"sqlite:///{folder / 'mlflow.db'}")
            found = client.get_experiment_by_name(tracking.experiment)
            artifacts = None if tracking.uri else (folder / "mlflow").as_uri()
            identity = found.experiment_id if found else client.create_experiment(tracking.experiment, artifacts)
            run_id = client.create_run(identity, run_name=f"{config.name}-{stage}").info.run_id
    status = "FAILED"
    try:
        yield Tracker(client, run_id)
        status = "FINISHED"
    finally:
        client.set_terminated(run_id, status=status)
