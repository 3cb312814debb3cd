"""The words of the command line: every verb, its options, and one line for a mistake in them."""

import argparse
import difflib
import sys
from pathlib import Path
from typing import NoReturn

from calltune.config.secrets import conceal
from calltune.verbs.init import TEMPLATES
from calltune.verbs.words import add_decide, add_mcp, add_sagemaker, add_try, add_watch

VERBS = {
    "check": "look for mistakes in the run file, the data and the model; writes nothing",
    "prepare": "read the sources and write data/",
    "sft": "supervised fine-tuning of the base model",
    "mine": "preference pairs from the SFT model's own mistakes, for dpo",
    "dpo": "preference optimisation of the SFT model",
    "grpo": "reinforcement: answers are drawn, verified and learned from, after sft or dpo",
    "evaluate": "measure every checkpoint on every benchmark",
    "report": "put the results side by side, on a page too, and apply the gate; takes folders of runs too",
    "export": "the last checkpoint as a model to hand on, checked against what was trained",
    "run": "all of these in order; what is complete and unchanged is skipped",
}

INIT = "look at your logs and write a run file that fits them, or a commented one to begin with"
COMPLETION = "print what makes a shell complete verbs and options"
AUDIT = "tell what files of rows are and hold, without a run file or a model; where to begin"
LIST = "the runs in a folder: date, model, score, state, cost"
OTHERS = ("audit", "init", "try", "decide", "watch", "list", "sagemaker", "deploy", "mcp", "completion")

WRITES = (*(verb for verb in VERBS if verb != "check"), "decide", "plan", "fetch", "stop-others")
"""The verbs and actions that write into the run's folder; only one of these may run there at a time."""


class Misspelt(SystemExit):
    """A mistake in the words themselves, which was told in one line; exit code 2."""

    def __init__(self, text: str) -> None:
        super().__init__(2)
        self.text = text


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
        raise Misspelt(conceal(message))


def build_parser() -> argparse.ArgumentParser:
    """The parser; it needs the standard library alone, so that --help comes at once."""
    from calltune import __version__

    parser = _Parser(
        prog="calltune",
        description="Teach a small language model when and how to call tools, and prove that it learned.",
        epilog="exit codes: 0 done; 1 a fault of calltune's own, with its traceback; 2 something to mend, told in one "
        "line; 3 the gate is not passed; 4 the guard stopped a stage; 130 interrupted from the keyboard, 143 by "
        "SIGTERM: the same command goes on",
    )
    parser.add_argument("--version", action="version", version=f"calltune {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    words = verbs.add_parser("audit", help=AUDIT, description=AUDIT)
    words.add_argument("path", metavar="PATH", help="a file of rows in any layout, or a folder of such files")
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
    add_decide(verbs)
    add_watch(verbs)
    words = verbs.add_parser("list", help=LIST, description=LIST)
    words.add_argument("path", nargs="?", type=Path, default=Path("runs"), metavar="DIR", help="default runs")
    add_sagemaker(verbs)
    add_mcp(verbs)
    words = verbs.add_parser("completion", help=COMPLETION, description=COMPLETION)
    words.add_argument("shell", choices=["bash", "zsh", "tcsh"], help="such as: calltune completion bash > FILE")
    for verb, words in verbs.choices.items():
        if verb not in ("mcp", "completion"):
            text = "print one JSON object on stdout, and all else on stderr"
            words.add_argument("--json", action="store_true", dest="as_json", help=text)
    return parser
