"""`calltune run`: every stage in order, each skipped when it is complete and what goes into it is unchanged."""

import time
from pathlib import Path

from calltune.config.run_file import Config
from calltune.config.stages import of_round
from calltune.launch.local import launch
from calltune.runtime.processes import processes
from calltune.runtime.terminal import say, working_on
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
        with working_on("check"):
            ours.first(lambda: check.run(config, with_data=False))
        with working_on("prepare"):
            ours.first(lambda: prepare.run(config))
    if "sft" in config.stages:
        with working_on("sft"):
            _imitate(config)
    if "dpo" in config.stages:
        for round_number in range(1, config.num_rounds + 1):
            _prefer(config, round_number)
    if "grpo" in config.stages:
        with working_on("grpo"):
            _reward(config)
    result, first_machine = config.run_folder, config.launch.machine_rank == 0
    if not config.evaluate.benchmarks:
        say("run: no [[evaluate.benchmarks]] in the run file, so nothing was measured")
    else:
        with working_on("evaluate"):
            if not launch(config, "evaluate"):
                evaluate.run(config)
    if config.evaluate.benchmarks and first_machine:
        with working_on("report"):
            result = ours.first(lambda: report.run(config, begun=begun))
    if config.export and first_machine:
        from calltune.verbs import export

        with working_on("export"):
            ours.first(lambda: export.run(config))
    return result


def _imitate(config: Config) -> None:
    if not launch(config, "sft"):
        from calltune.verbs import sft

        sft.run(config)


def _reward(config: Config) -> None:
    if not launch(config, "grpo"):
        from calltune.verbs import grpo

        grpo.run(config)


def _prefer(config: Config, round_number: int) -> None:
    """One round of preference training, its pairs mined first where the run file says so."""
    option = f"--round={round_number}"
    with working_on(of_round("mined", round_number)):
        if config.mine and not launch(config, "mine", option):
            from calltune.verbs import mine

            mine.run(config, round_number)
    with working_on(of_round("dpo", round_number)):
        if not launch(config, "dpo", option):
            from calltune.verbs import dpo

            dpo.run(config, round_number)
