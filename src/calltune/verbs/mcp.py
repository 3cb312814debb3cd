"""`calltune mcp`: audit, check, list, a run's state and its report as tools of an MCP server, over stdio.

Each tool reads, and none writes into a run. Verbs are asked in processes of their own: what they print cannot get into
the protocol, and what they import is gone when they have ended. Paths may not lead out of the folder that is served.
"""

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from calltune import __version__
from calltune.errors import CalltuneError, ConfigError, RunFolderError
from calltune.files.json_lines import read_json
from calltune.runtime.stopping import ended_soon

_FOR_PEOPLE = ("verb", "exit_code", "remarks", "lines", "tables")
_INSTRUCTIONS = (
    "calltune trains a small language model to call tools, from an agent's logs. Begin with audit, write a run file "
    "with 'calltune init PATH' in a shell, look at it with check, and begin 'calltune run FILE' in the background; "
    "run_state and report tell how it stands. Believe a report's verdict over a single figure."
)


@ended_soon()
def run(folder: Path) -> None:
    """Serve until the client closes stdin.

    Args:
        folder: what paths are relative to, and may not lead out of.

    Raises:
        ConfigError: there is no such folder, or the package `mcp` is not installed.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            server = _server(folder.resolve())
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("mcp", "anyio", "mcp_types"):
            raise
        line = f"mcp needs the package '{error.name}', which is not installed: pip install 'calltune[mcp]'"
        raise ConfigError(line) from None
    server.run("stdio")


def _server(folder: Path) -> Any:
    from mcp.server.mcpserver import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp_types import ToolAnnotations

    server = MCPServer("calltune", version=__version__, instructions=_INSTRUCTIONS, log_level="ERROR")
    reads = ToolAnnotations(read_only_hint=True)

    def inside(path: str) -> str:
        try:
            return str(_inside(folder, path))
        except CalltuneError as error:
            raise ToolError(str(error)) from None

    async def asked(*words: str) -> Any:
        code, out, err = await _ask(folder, *words, "--json")
        if not out:
            raise ToolError(err)
        told = json.loads(out)
        if code:
            raise ToolError(told["error"])
        # What people are told of it says nothing more.
        return {key: value for key, value in told.items() if key not in _FOR_PEOPLE}

    @server.tool(annotations=reads)
    async def audit(path: str) -> dict[str, Any]:
        """Tell what a file or folder of an agent's logs is and holds.

        Layouts, behaviours, tools, faults, personal details (counted, never shown), how many rows could be trained on
        and why the others could not, and the next command.
        """
        return await asked("audit", inside(path))

    @server.tool(annotations=reads)
    async def check(run_file: str) -> dict[str, Any]:
        """Look for mistakes in a run file, its data and its model before time is spent.

        `ok` is false where something has to be mended first, which `problem` says in one line; `lines` holds what else
        is known, with warnings. It may take a minute. It does what the run file says, which may start a command:
        check only run files that you would run.
        """
        code, out, err = await _ask(folder, "check", inside(run_file))
        return {"ok": not code, "problem": err, "lines": out.splitlines()}

    @server.tool(name="list", annotations=reads)
    async def list_runs(path: str = "runs") -> list[dict[str, Any]]:
        """The runs in a folder, the newest first: name, date, model, score before and after, state, seconds."""
        return (await asked("list", inside(path)))["runs"]

    @server.tool(annotations=reads)
    async def run_state(run: str) -> dict[str, Any]:
        """Tell how a run stands, by its folder such as runs/my-agent.

        The last stage that is complete, the command that works on it now, and the score if there is one.
        """
        if not (Path(inside(run)) / "config.json").is_file():
            raise ToolError(f"{run}: is not the folder of a run (it holds no config.json)")
        (state,) = (await asked("list", inside(run)))["runs"]
        return state

    @server.tool(annotations=reads)
    async def report(run: str) -> dict[str, Any]:
        """Tell what a run's report says at its top, by the run's folder.

        The verdict with its reason, one sentence, figures before and after with intervals, the gate, problems, and the
        file of the whole page.
        """
        try:
            return _report(Path(inside(run)))
        except CalltuneError as error:
            raise ToolError(str(error)) from None

    return server


def _inside(folder: Path, path: str) -> Path:
    """A path of the client's, links followed.

    Raises:
        ConfigError: it leads out of the folder, or is none.
    """
    try:
        found = (folder / path).resolve()
    except (OSError, ValueError):
        raise ConfigError(f"{path!r}: is no path") from None
    if not found.is_relative_to(folder):
        raise ConfigError(f"{path}: is outside of the folder that is served, {folder}")
    return found


async def _ask(folder: Path, *words: str) -> tuple[int, str, str]:
    """Run a verb in a process of its own: its exit code, what it printed, and the line of its mistake."""
    import anyio

    # By -P no module is looked for in the folder, which may hold a json.py of anybody's.
    command = [sys.executable, "-P", "-m", "calltune", *words]
    plain = {**os.environ, "NO_COLOR": "1"}
    done = await anyio.run_process(command, check=False, cwd=folder, env=plain)
    out, err = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
    return done.returncode, out, err.strip().removeprefix("calltune: ")


def _report(folder: Path) -> dict[str, Any]:
    """The top of `report.json`.

    Raises:
        RunFolderError: there is none, or it is damaged.
    """
    file = folder / "report.json"
    if not file.is_file():
        raise RunFolderError(f"{folder}: holds no report.json; 'calltune report' writes it once answers were scored")
    told = read_json(file, "run report again")
    if not isinstance(told, dict) or "verdict" not in told:
        raise RunFolderError(f"{file}: was written by an older calltune; run report again")
    top = {key: told.get(key) for key in ("name", "model", "verdict", "gate", "problems")}
    return {**top, "page": str(folder / "report.html")}
