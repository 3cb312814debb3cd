"""`calltune run`: every stage in order, each skipped when it is complete and what goes into it is unchanged."""

import time
from pathlib import Path

from calltune.config.run_file import Config
from calltune.launch.local import launch
from calltune.runtime.processes import processes
from calltune.runtime.terminal import say
from calltune.verbs import check, evaluate, prepare, report


def run(config: Config) -> Path:
    """From sources to report, and to the export when `[export]` stands in the run file.

    Returns:
        The path of `report.json`, or the run's folder when the run file names no benchmark.

    Raises:
        CalltuneError: as the stages do; what was complete before stays complete.
    """
    ours, begun = processes(), time.monotonic()
    # What is for one process: the first of those that a launcher started, on the first of several machines.
    if config.launch.machine_rank == 0:
        ours.first(lambda: check.run(config, with_data=False))
        ours.first(lambda: prepare.run(config))
    if "sft" in config.stages and not launch(config, "sft"):
        from calltune.verbs import sft

        sft.run(config)
    if "dpo" in config.stages:
        for round_number in range(1, config.num_rounds + 1):
            _prefer(config, round_number)
    if "grpo" in config.stages and not launch(config, "grpo"):
        from calltune.verbs import grpo

        grpo.run(config)
    result, first_machine = config.run_folder, config.launch.machine_rank == 0
    if not config.evaluate.benchmarks:
        say("run: no [[evaluate.benchmarks]] in the run file, so nothing was measured")
    elif not launch(config, "evaluate"):
        evaluate.run(config)
    if config.evaluate.benchmarks and first_machine:
        result = ours.first(lambda: report.run(config, begun=begun))
    if config.export and first_machine:
        from calltune.verbs import export

        ours.first(lambda: export.run(config))
    return result


def _prefer(config: Config, round_number: int) -> None:
    """One round of preference training, its pairs mined first where the run file says so."""
    option = f"--round={round_number}"
    if config.mine and not launch(config, "mine", option):
        from calltune.verbs import mine

        mine.run(config, round_number)
    if not launch(config, "dpo", option):
        from calltune.verbs import dpo

        dpo.run(config, round_number)
