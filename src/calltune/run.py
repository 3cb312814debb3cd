"""`calltune run`: every stage in order, each skipped when it is complete and what goes into it is unchanged."""

from pathlib import Path

from calltune import check, evaluate, prepare, report
from calltune.config import Config
from calltune.terminal import say


def run(config: Config) -> Path:
    """From sources to report.

    Returns:
        The path of `report.json`, or the run's folder when the run file names no benchmark.

    Raises:
        CalltuneError: as the stages do; what was complete before stays complete.
    """
    check.run(config, with_data=False)
    prepare.run(config)
    if "sft" in config.stages:
        from calltune import sft

        sft.run(config)
    if "dpo" in config.stages:
        from calltune import dpo

        dpo.run(config)
    if not config.evaluate.benchmarks:
        say("run: no [[evaluate.benchmarks]] in the run file, so nothing was measured")
        return config.run_folder
    evaluate.run(config)
    return report.run(config)
