"""The command line, `calltune VERB run.toml [key=value ...]`: parses words, imports one verb, tells mistakes."""

import argparse
import difflib
import gc
import importlib
import logging
import os
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, NoReturn

from calltune.config.secrets import conceal
from calltune.runtime.allocator import let_memory_grow
from calltune.runtime.threads import bound_threads
from calltune.verbs.init import TEMPLATES
from calltune.verbs.words import add_mcp, add_sagemaker, add_try, add_watch, is_late, split_question, try_options

VERBS = {
    "check": "look for mistakes in the run file, the data and the model; writes nothing",
    "prepare": "read the sources and write data/",
    "sft": "supervised fine-tuning of the base model",
    "mine": "preference pairs from the SFT model's own mistakes, for dpo",
    "dpo": "preference optimisation of the SFT model",
    "evaluate": "measure every checkpoint on every benchmark",
    "report": "put the results side by side, on a page too, and apply the gate; takes folders of runs too",
    "export": "the last checkpoint as a model to hand on, checked against what was trained",
    "run": "all of these in order; what is complete and unchanged is skipped",
}

INIT = "look at your logs and write a run file that fits them, or a commented one to begin with"
COMPLETION = "print what makes a shell complete verbs and options"
AUDIT = "tell what files of rows are and hold, without a run file or a model; where to begin"
LIST = "the runs in a folder: date, model, score, state, cost"
OTHERS = ("audit", "init", "try", "watch", "list", "sagemaker", "deploy", "mcp", "completion")

WRITES = (*(verb for verb in VERBS if verb != "check"), "plan", "fetch", "stop-others")
"""The verbs and actions that write into the run's folder; only one of these may run there at a time."""


class _Parser(argparse.ArgumentParser):
    """argparse, with one line for a mistake instead of the usage."""

    def error(self, message: str) -> NoReturn:
        if "invalid choice" in message and "VERB" in message:
            verb = message.split("'")[1]
            near = difflib.get_close_matches(verb, [*VERBS, *OTHERS], n=1)
            message = f"unknown verb '{verb}'" + (
                f", did you mean '{near[0]}'?" if near else f" (there are: {', '.join([*VERBS, *OTHERS])})"
            )
        print(f"calltune: {conceal(message)}", file=sys.stderr)
        sys.exit(2)


def build_parser() -> argparse.ArgumentParser:
    """The parser; it needs the standard library alone, so that --help comes at once."""
    from calltune import __version__

    parser = _Parser(
        prog="calltune",
        description="Teach a small language model when and how to call tools, and prove that it learned.",
        epilog="exit codes: 0 done; 1 a fault of calltune's own, with its traceback; 2 something to mend, told in one "
        "line; 3 the gate is not passed; 130 interrupted from the keyboard, 143 by SIGTERM: the same command goes on",
    )
    parser.add_argument("--version", action="version", version=f"calltune {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    words = verbs.add_parser("audit", help=AUDIT, description=AUDIT)
    words.add_argument("path", metavar="PATH", help="a file of rows in any layout, or a folder of such files")
    words.add_argument("--json", action="store_true", dest="as_json", help="print one JSON object and nothing else")
    words.add_argument("--page", type=Path, metavar="FILE", help="write it as a page of HTML too")
    words = verbs.add_parser("init", help=INIT, description=INIT)
    words.add_argument(
        "what",
        nargs="?",
        metavar="PATH",
        default="quickstart",
        help=f"a file or folder of logs, or a template: {', '.join(TEMPLATES)}; default quickstart",
    )
    words.add_argument("-o", "--output", type=Path, metavar="FILE", help="by default the logs' or template's name.toml")
    words.add_argument("--tools", metavar="FILE", help="a file of tools, or an MCP server, for logs that name none")
    words.add_argument("--force", action="store_true", help="overwrite what is there")
    for verb, text in VERBS.items():
        words = verbs.add_parser(verb, help=text, description=text)
        words.add_argument("run_file", type=Path, metavar="run.toml", help="the run file")
        words.add_argument(
            "overrides",
            nargs="*",
            default=[],  # without it argparse names them among the arguments that are required
            metavar="key=value",
            help="laid over the run file, e.g. sft.learning_rate=2e-5",
        )
        if verb == "check":
            words.add_argument(
                "--time",
                action="store_true",
                dest="with_time",
                help="tell what the run is going to take, by some real steps: memory, hours, price",
            )
            words.add_argument(
                "--show",
                type=int,
                default=0,
                dest="show_rows",
                metavar="N",
                help="print N rows of each source, trained tokens marked",
            )
        if verb == "report":
            words.add_argument("--full", action="store_true", help="tell every metric, comparison and rule too")
        if verb in ("mine", "dpo"):
            words.add_argument(
                "--round", type=int, default=1, dest="round_number", metavar="N", help="of [mine] rounds; default 1"
            )
        words.add_argument(
            "--on",
            choices=["local", "sagemaker"],
            default="local",
            help="where to run: local is this machine, sagemaker the account of [launch.sagemaker]",
        )
        words.add_argument("--dry-run", action="store_true", help="with --on sagemaker: print requests, send nothing")
        words.add_argument("--detach", action="store_true", help="with --on sagemaker: ask for a job, do not follow it")
    add_try(verbs)
    add_watch(verbs)
    words = verbs.add_parser("list", help=LIST, description=LIST)
    words.add_argument("path", nargs="?", type=Path, default=Path("runs"), metavar="DIR", help="default runs")
    words.add_argument("--json", action="store_true", dest="as_json", help="print one JSON list and nothing else")
    add_sagemaker(verbs)
    add_mcp(verbs)
    words = verbs.add_parser("completion", help=COMPLETION, description=COMPLETION)
    words.add_argument("shell", choices=["bash", "zsh", "tcsh"], help="such as: calltune completion bash > FILE")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        0 when it went well, 2 when the user has something to mend, 3 when the gate is not passed, 130 when interrupted
        from the keyboard and 143 by SIGTERM: what was interrupted goes on when it is run again.
    """
    parser = build_parser()
    words, late = parser.parse_known_args(arguments)
    if words.verb == "completion" and not late:
        import shtab

        print(shtab.complete(parser, shell=words.shell))
        return 0
    # argparse looks for no more overrides once an option came.
    if unknown := [w for w in late if w.startswith("-") or not is_late(w, words)]:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if late:
        words.overrides += late
    # Set before any heavy import reads it: forked tokenizer threads only warn.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    bound_threads()
    let_memory_grow()
    if arguments is None:
        sys.excepthook = _tell_traceback
    # PEFT imports bitsandbytes where it is installed, and on a CPU that warns of a kernel it would have to download.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # PEFT 0.21 and TRL 1.16 ask transformers 5.23 by an old name; the user can do nothing about it.
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)
    from calltune.errors import CalltuneError, GateError
    from calltune.runtime import child
    from calltune.runtime.extras import line_for
    from calltune.runtime.stopping import Stopped, end_within_seconds, stoppable

    command = shlex.join(["calltune", *map(conceal, sys.argv[1:] if arguments is None else arguments)])

    def tell_how_to_go_on() -> None:
        if not child.is_child():
            print(f"calltune: interrupted; '{command}' goes on from here", file=sys.stderr)

    with stoppable(tell_how_to_go_on):
        try:
            _do(words, command)
        except CalltuneError as error:
            if child.is_child():
                child.tell("error", str(error))
            else:
                print(f"calltune: {conceal(str(error))}", file=sys.stderr)
            return 3 if isinstance(error, GateError) else 2
        except ModuleNotFoundError as error:
            if not (line := line_for(words.verb, error)):
                raise
            print(f"calltune: {line}", file=sys.stderr)
            return 2
        except (KeyboardInterrupt, Stopped) as stop:
            tell_how_to_go_on()
            code = 128 + (stop.signal if isinstance(stop, Stopped) else signal.SIGINT)
            if arguments is None:
                # Threads that wait for a server, for instance.
                end_within_seconds(code)
            return code
    return 0


def _tell_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    print(conceal("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)


def _do(words: argparse.Namespace, command: str) -> None:
    """Do what the words say; `command` is what they were, without a secret in it."""
    if words.verb in ("audit", "list"):
        # They begin at once, as they need nothing of what is imported below.
        _load(words.verb).run(words.path, words.as_json, *([words.page] if "page" in words else []))
        return
    if words.verb == "mcp":
        _load("mcp").run(words.folder)
        return
    from calltune.config.run_file import load_config
    from calltune.config.run_folder import as_run_file
    from calltune.evaluation.jobs import open_benchmarks
    from calltune.files.disk import writing_to
    from calltune.files.owner import owning
    from calltune.launch import IN_PROCESSES
    from calltune.launch.local import launch
    from calltune.runtime import child
    from calltune.verbs import init

    if child.is_child():
        child.begin()
    if words.verb == "init":
        init.run(words.what, words.output, words.force, words.tools)
        return
    questions = split_question(words) if words.verb == "try" else []
    place = words.run_file, words.overrides
    config = load_config(*(as_run_file(*place) if words.verb == "report" else place))
    if config.model.endswith(".gguf"):
        from calltune.models.gguf_file import read_gguf

        with writing_to(Path(config.output)):
            config = config.model_copy(update={"model": str(read_gguf(Path(config.model), Path(config.output)))})
    if config.gate.rules:
        # Told before anything is paid for, whichever verb comes first.
        open_benchmarks(config)
    writes = (words.action if words.verb == "sagemaker" else words.verb) in WRITES
    with writing_to(config.run_folder), owning(config, command) if writes else nullcontext():
        if words.verb == "try":
            _load("try_").run(config, questions, **try_options(words))
        elif words.verb == "watch":
            _load("watch").run(config)
        elif words.verb == "sagemaker" or words.on == "sagemaker" or words.dry_run or words.detach:
            _on_sagemaker(config, words)
        elif words.verb not in IN_PROCESSES or not launch(config, words.verb, *_rounds(config, words)):
            names = ("show_rows", "with_time", "round_number", "full")
            given = {name: vars(words)[name] for name in names if name in words}
            _load(words.verb).run(config, **given)


def _load(verb: str) -> ModuleType:
    """The module of a verb. What it imports stays for good: nothing looks through that for garbage, now or later."""
    name = f"calltune.verbs.{verb}"
    if name in sys.modules or not gc.isenabled():
        return importlib.import_module(name)
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.freeze()
        gc.enable()


def _rounds(config: Any, words: argparse.Namespace) -> list[str]:
    """The options that say which round of mining it is, for the processes that run the verb."""
    if "round_number" not in words:
        return []
    from calltune.errors import ConfigError

    if not 1 <= words.round_number <= config.num_rounds:
        raise ConfigError(f"--round {words.round_number}: the run file has {config.num_rounds} of them ([mine] rounds)")
    return [f"--round={words.round_number}"]


def _on_sagemaker(config: Any, words: argparse.Namespace) -> None:
    from calltune.errors import ConfigError
    from calltune.verbs import sagemaker

    if words.verb == "sagemaker":
        sagemaker.act(config, words.action, words.yes)
    elif words.verb == "deploy":
        _load("deploy").run(config, words.dry_run, words.down)
    elif words.on != "sagemaker":
        if words.detach:
            raise ConfigError("--detach goes with --on sagemaker")
        raise ConfigError("--dry-run goes with --on sagemaker; 'check' is what looks at a run on this machine")
    elif words.verb not in sagemaker.ON_SAGEMAKER:
        raise ConfigError(f"{words.verb} runs on this machine; leave --on sagemaker out")
    else:
        sagemaker.launch(config, words.verb, words.dry_run, words.detach)


if __name__ == "__main__":
    sys.exit(main())
