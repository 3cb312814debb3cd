"""The words of verbs with a command line of their own; the standard library alone, so that --help comes at once."""

import re
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from calltune.errors import ConfigError

SAGEMAKER = "look at a run's jobs on Amazon SageMaker, or clear them away"
DEPLOY = "register the exported model on Amazon SageMaker with what the report says of it, and serve it at an endpoint"
MCP = "serve audit, check, list, a run's state and its report to a coding agent, as tools of an MCP server over stdio"
TRY = "ask the run's checkpoints one question, or your own over several turns, side by side"
DECIDE = "what each checkpoint would do with a question, as probabilities: call, ask, refuse or answer"
WATCH = "show what a run does now, how far it is and how long it takes, until it ends"
PORT = 8000
ASK = ("try", "decide")
"""The verbs among whose words may be a question."""

_OVERRIDE = re.compile(r"[A-Za-z_][\w.-]*=")
ACTIONS = {
    "plan": "what run --on sagemaker would do, and its upper bound of cost",
    "status": "every job of the run",
    "logs": "what they printed",
    "fetch": "bring what complete jobs made",
    "stop": "stop the run's jobs and end their warm machines; what they wrote stays",
    "stop-others": "the same for those that the run file, as it is now, does not ask for",
    "clean": "stop jobs, end warm machines, delete what is in the bucket",
}


def add_sagemaker(verbs: Any) -> None:
    """Add `sagemaker ACTION run.toml` and `deploy run.toml --on sagemaker` to argparse's subparsers."""
    words = verbs.add_parser("sagemaker", help=SAGEMAKER, description=SAGEMAKER)
    words.add_argument("action", choices=list(ACTIONS), help="; ".join(f"{k}: {v}" for k, v in ACTIONS.items()))
    words.add_argument("run_file", type=Path, metavar="run.toml", help="the run file")
    words.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="laid over the run file")
    words.add_argument("--yes", action="store_true", help="clean: do it")
    _add_deploy(verbs)


def _add_deploy(verbs: Any) -> None:
    words = verbs.add_parser("deploy", help=DEPLOY, description=DEPLOY)
    words.add_argument("run_file", type=Path, metavar="run.toml", help="the run file")
    words.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="laid over the run file")
    words.add_argument("--on", choices=["sagemaker"], required=True, help="the account of [launch.sagemaker]")
    words.add_argument("--dry-run", action="store_true", help="print the requests, send nothing")
    words.add_argument("--down", action="store_true", help="delete the run's endpoints; packages stay")


def add_mcp(verbs: Any) -> None:
    """Add `mcp [FOLDER]` to argparse's subparsers."""
    words = verbs.add_parser("mcp", help=MCP, description=MCP)
    words.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=Path(),
        metavar="FOLDER",
        help="the folder that paths are relative to, and that none may lead out of; default this one",
    )


def add_try(verbs: Any) -> None:
    """Add the verb to the parser's verbs."""
    words: ArgumentParser = verbs.add_parser("try", help=TRY, description=TRY)
    _add_questions(words, "you are asked for it")
    words.add_argument(
        "--first", type=int, default=0, metavar="N", help="the run's first N test questions, as text for a document"
    )
    words.add_argument("--serve", action="store_true", help="as a page and an OpenAI-compatible server on this machine")
    words.add_argument("--port", type=int, metavar="PORT", help=f"of --serve; default {PORT}, 0 takes a free one")


def add_decide(verbs: Any) -> None:
    """Add the verb that tells what a checkpoint would do."""
    words = verbs.add_parser("decide", help=DECIDE, description=DECIDE)
    _add_questions(words, "it is told how the checkpoints decide")


def _add_questions(words: ArgumentParser, without_one: str) -> None:
    """Add the run file, the questions and the tools to a verb; `without_one` says what becomes of it without any."""
    words.add_argument("run_file", type=Path, metavar="run.toml", help="the run file")
    words.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="QUESTION",
        help=f"a question, in quotes; without one {without_one}; key=value is laid over the run file",
    )
    words.add_argument("--tools", metavar="FILE", dest="tools_file", help="a JSON file of tools, not the run's own")


def add_watch(verbs: Any) -> None:
    """Add the verb that looks at a run while it goes on."""
    words = verbs.add_parser("watch", help=WATCH, description=WATCH)
    words.add_argument("run_file", type=Path, metavar="run.toml", help="the run file")
    words.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="laid over the run file")


def try_options(words: Namespace) -> dict[str, Any]:
    """What `try` is given beside the questions.

    Raises:
        ConfigError: a port without a server.
    """
    if words.port is not None and not words.serve:
        raise ConfigError("--port goes with --serve")
    port = (PORT if words.port is None else words.port) if words.serve else None
    return {"tools_file": words.tools_file, "first": words.first, "port": port}


def split_question(words: Namespace) -> list[str]:
    """Take the questions out of the overrides, which are as `key=value`, and return them."""
    questions = [word for word in words.overrides if not _OVERRIDE.match(word)]
    words.overrides = [word for word in words.overrides if _OVERRIDE.match(word)]
    return questions


def is_late(word: str, words: Namespace) -> bool:
    """Return whether a word that came after an option is an override, or a question to try."""
    return "overrides" in words and ("=" in word or words.verb in ASK)
