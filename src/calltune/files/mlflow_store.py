"""Where MLflow's store is, how it is asked, and what it raises when it does not answer."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from calltune.config.run_file import Config
from calltune.config.secrets import conceal

# Without it, MLflow's pages guess between training and GenAI.
_KIND = {"mlflow.experimentKind": "custom_model_development"}
# MLflow tries for minutes; a mistyped address should be told in seconds, and training should not wait.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


def client_of(config: Config) -> Any:
    """MLflow's client of the store that the run file names, quiet and without long patience."""
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient, set_tracking_uri

    # It writes tracebacks of what is told in one line here.
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    uri = address(config)
    # Plug-ins, such as SageMaker's, ask for it there.
    set_tracking_uri(uri)
    return MlflowClient(tracking_uri=uri)


def address(config: Config) -> str:
    """The store's address: the run file's, or a sqlite file in the output folder."""
    return config.tracking.uri or f"sqlite:///{Path(config.output).resolve() / 'mlflow.db'}"


def experiment_id(client: Any, config: Config) -> str:
    """The experiment's id. Its page opens under model training, unless a user chose another kind for it."""
    name, kind = config.tracking.experiment, _KIND
    if found := client.get_experiment_by_name(name):
        if kind.keys() - found.tags.keys():
            client.set_experiment_tag(found.experiment_id, *next(iter(kind.items())))
        return found.experiment_id
    artifacts = None if config.tracking.uri else (Path(config.output).resolve() / "mlflow").as_uri()
    return client.create_experiment(name, artifacts, tags=kind)


def no_answer() -> tuple[type[Exception], ...]:
    """What a store that is away, full, or not what it was said to be may raise."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    found: tuple[type[Exception], ...] = (MlflowException, RequestException, SQLAlchemyError, OSError)
    if "botocore" in sys.modules:
        from botocore.exceptions import BotoCoreError, ClientError

        found = (*found, BotoCoreError, ClientError)
    return found


def one_line(error: Exception) -> str:
    """The first line of what a store says, without secrets."""
    return conceal((str(error).strip().splitlines() or [type(error).__name__])[0])[:300]


@contextmanager
def quiet() -> Iterator[None]:
    """MLflow's imports and calls warn of their dependencies; none of it is the user's to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
