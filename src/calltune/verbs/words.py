"""The words of verbs with a command line of their own; the standard library alone, so that --help comes at once."""

from pathlib import Path
from typing import Any

SAGEMAKER = "look at a run's jobs on Amazon SageMaker, or clear them away"
MCP = "serve audit, check, list, a run's state and its report to a coding agent, as tools of an MCP server over stdio"
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
    """Add `sagemaker ACTION run.toml` to argparse's subparsers."""
    words = verbs.add_parser("sagemaker", help=SAGEMAKER, description=SAGEMAKER)
    words.add_argument("action", choices=list(ACTIONS), help="; ".join(f"{k}: {v}" for k, v in ACTIONS.items()))
    words.add_argument("run_file", type=Path, metavar="run.toml", help="the run file")
    words.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="laid over the run file")
    words.add_argument("--yes", action="store_true", help="clean: do it")


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
