"""MLflow's own thread that measures the machine while a stage runs: processor, memory, disk, network, GPUs."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec


def wanted() -> bool:
    """Whether the machine can be measured, and MLflow's own switch in the environment does not say no."""
    switch = os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true")
    return switch.lower() not in ("false", "0") and find_spec("psutil") is not None


@contextmanager
def measured(run_id: str, uri: str) -> Iterator[None]:
    """Within it, the run's `system/` metrics grow by a value every ten seconds; a resumed run's go on.

    GPUs are among them where `nvidia-ml-py` is installed. A store that goes away ends the measuring, and nothing else.
    """
    if not wanted():
        yield
        return
    # The packages that know the GPUs warn of each other.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=uri)
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()
