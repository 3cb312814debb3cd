"""This machine: a verb in one process, or in as many as `[launch]` says, through `accelerate launch`.

The launch tools end with a page about themselves when a process fails. It goes to `launch/stderr.log`; what the user
reads last is the line, or the traceback, of the process that failed first.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from calltune.config.launch import LaunchConfig
from calltune.config.run_file import Config
from calltune.config.secrets import conceal
from calltune.errors import CalltuneError, GuardError, LaunchError
from calltune.files.json_lines import write_json
from calltune.files.manifest import claim_run_folder
from calltune.runtime import child
from calltune.runtime.processes import processes
from calltune.runtime.stopping import Stopped, postponed_stop
from calltune.runtime.terminal import say
from calltune.runtime.threads import for_launcher

_SECONDS_TO_SAVE = 600.0
_ENDS = ("error", "guard", "traceback", "asked")


def launch(config: Config, verb: str, *options: str) -> bool:
    """Run a verb in the processes of `[launch]`, and return when all have ended well.

    Args:
        options: of the command line, which the verb is run with.

    Returns:
        Whether it was done; False when it is for this process to do: it is the only one, or one of them.

    Raises:
        CalltuneError: what stopped one of the processes, in its own words.
        Stopped, KeyboardInterrupt: this process was asked to stop, and has passed it on.
    """
    wanted = config.launch
    alone = wanted.processes * wanted.machines == 1 and wanted.strategy == "ddp"
    if alone or child.is_child() or processes().count > 1:
        return False
    if find_spec("accelerate") is None:
        raise ModuleNotFoundError("No module named 'accelerate'", name="accelerate")
    folder = claim_run_folder(config) / "launch"
    write_json(folder / "config.json", config.model_dump(mode="json"), private=True)
    write_json(folder / "accelerate.json", accelerate_config(config, folder))
    if wanted.strategy.startswith("zero"):
        write_json(folder / "deepspeed.json", deepspeed_config(wanted))
    say(f"{verb}: {wanted.processes} processes on each of {wanted.machines} machines ({wanted.strategy})")
    _run(accelerate_command(config, folder, verb, *options), verb, folder / "stderr.log", wanted.processes)
    return True


def accelerate_command(config: Config, folder: Path, verb: str, *options: str) -> list[str]:
    """The `accelerate launch` command that runs a verb, from the files that `launch` writes into a folder."""
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(folder / "accelerate.json")]
    machine = ["--machine_rank", str(config.launch.machine_rank)] if config.launch.machines > 1 else []
    return [*launcher, *machine, "--module", "calltune", verb, str(folder / "config.json"), *options]


def accelerate_config(config: Config, folder: Path) -> dict[str, Any]:
    """Accelerate's own configuration file. Precision is not in it: `[sft]` and `[dpo]` say it to the trainer."""
    wanted = config.launch
    kinds = {"ddp": "MULTI_GPU", "fsdp2": "FSDP"}
    shared: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": kinds.get(wanted.strategy, "DEEPSPEED"),
        "num_processes": wanted.processes * wanted.machines,
        "num_machines": wanted.machines,
        "machine_rank": 0,
        "main_process_ip": wanted.main_address,
        # 0: a free one.
        "main_process_port": wanted.main_port if wanted.machines > 1 else 0,
        "same_network": True,
        "rdzv_backend": "static",
        "use_cpu": False,
        "debug": False,
    }
    if not wanted.strategy.startswith("zero"):
        # DeepSpeed refuses to be told twice.
        shared["mixed_precision"] = "no"
    if wanted.strategy == "fsdp2":
        shared["fsdp_config"] = {
            "fsdp_version": 2,
            "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "fsdp_reshard_after_forward": True,
            "fsdp_offload_params": False,
            "fsdp_cpu_ram_efficient_loading": False,
            # Whole weights in a checkpoint: the stage's model is made from it by one process.
            "fsdp_state_dict_type": "FULL_STATE_DICT",
        }
    if wanted.strategy.startswith("zero"):
        shared["deepspeed_config"] = {
            "deepspeed_config_file": str(folder / "deepspeed.json"),
            "deepspeed_multinode_launcher": "standard",
            "zero3_init_flag": wanted.strategy == "zero3",
        }
    return shared


def deepspeed_config(wanted: LaunchConfig) -> dict[str, Any]:
    """DeepSpeed's own configuration file; what `[sft]` and `[dpo]` decide is "auto", which the trainer fills in."""
    stage = int(wanted.strategy.removeprefix("zero"))
    gather = {"stage3_gather_16bit_weights_on_model_save": True} if stage == 3 else {}
    return {
        "zero_optimization": {"stage": stage, "overlap_comm": True, "contiguous_gradients": True, **gather},
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": "auto"},
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "steps_per_print": 1_000_000_000,
    }


def _run(command: list[str], verb: str, log: Path, num_processes: int) -> None:
    with tempfile.TemporaryDirectory(prefix="calltune-launch-") as place, postponed_stop() as request:
        words = Path(place)
        environment = for_launcher(os.environ) | {child.FOLDER: place, child.LAUNCHER: str(os.getpid())}
        # In a session of its own, so that a Ctrl-C comes here first and reaches the children once.
        process = subprocess.Popen(
            command, env=environment, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True
        )
        with log.open("a", encoding="utf-8") as kept:
            relay = threading.Thread(target=_relay, args=(process.stderr, kept, words))
            relay.start()
            try:
                deadline = None
                while process.poll() is None:
                    if request.signal is not None and deadline is None:
                        if len(list(words.glob("*.pid"))) < num_processes:
                            # Who has not begun cannot be told, and nobody has done anything yet.
                            break
                        deadline = time.monotonic() + _SECONDS_TO_SAVE
                        _signal_children(words, request.signal)
                    if deadline is not None and time.monotonic() > deadline:
                        break
                    time.sleep(0.05)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                relay.join()
        request.raise_if_asked()
        if process.returncode != 0:
            _tell_failure(verb, words, log)


def _relay(lines: IO[str], kept: IO[str], words: Path) -> None:
    """Hand on what the processes write to stderr, until one fails or all are stopped; all of it is kept."""
    over = False
    for line in map(conceal, lines):
        kept.write(line)
        kept.flush()
        # Our own processes leave their tracebacks in the folder.
        over = over or line.startswith("Traceback") or any(any(words.glob(f"*.{kind}")) for kind in _ENDS)
        if not over and not any(words.glob("*.stopped")) and not _OF_LAUNCH_TOOLS.match(line):
            sys.stderr.write(line)


def _signal_children(words: Path, number: int) -> None:
    """To the processes themselves: the launch tools would give them 30 seconds to save what they have."""
    (words / "all.stopped").touch()
    for word in words.glob("*.pid"):
        try:
            os.kill(int(word.read_text()), number)
        except ProcessLookupError:
            continue


# "W1122 16:20:31.123000 4711 torch/distributed/elastic/..."
_OF_LAUNCH_TOOLS = re.compile(r"[WEI]\d{4} [\d:.]+ \d+ .*torch/")


def _tell_failure(verb: str, words: Path, log: Path) -> None:
    """Raise the error of the process that failed first, as that process would have alone."""
    # All agreed to stop, as another machine was asked to.
    if asked := list(words.glob("*.asked")):
        raise Stopped(int(asked[0].read_text(encoding="utf-8")))
    if fallen := list(words.glob("*.guard")):
        raise GuardError(fallen[0].read_text(encoding="utf-8"))
    if errors := sorted(words.glob("*.error"), key=lambda path: path.stat().st_mtime_ns):
        raise CalltuneError(errors[0].read_text(encoding="utf-8"))
    killed = re.findall(r"Signal \d+ \((SIG\w+)\) received by PID", log.read_text(encoding="utf-8"))
    tracebacks = sorted(words.glob("*.traceback"), key=lambda path: path.stat().st_mtime_ns)
    if tracebacks and "SIGKILL" not in killed:
        sys.stderr.write(conceal(tracebacks[0].read_text(encoding="utf-8")))
        raise SystemExit(1)
    how = f"was ended by {killed[-1]}" if killed else "ended"
    raise LaunchError(f"{verb}: one of the processes {how}; run it again to go on from its last checkpoint (see {log})")
