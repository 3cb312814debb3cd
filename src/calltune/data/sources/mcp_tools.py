"""A catalogue of tools from an MCP server: `tools = "mcp:stdio:COMMAND ARGS"` or `tools = "mcp:https://host/path"`.

The server is asked once in a run, by whatever reads the rows first, and its process has ended when the answer is there.
A key for a server is never in the run file: a command has this process's environment, and an address gets the value of
the variable that `tools_token_env` names.
"""

import logging
import os
import shlex
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TextIO

from calltune.calling.strict_json import parse_value, shortened
from calltune.config.secrets import conceal
from calltune.data.sources.conversations import ConversationSettings, read_tools
from calltune.data.sources.files import files_fingerprint, read_whole
from calltune.errors import DataError
from calltune.files.hashes import value_sha256
from calltune.types import Tool

SECONDS_TO_ANSWER = 30.0
_MOST_PAGES = 1000
_PREFIX, _COMMAND = "mcp:", "mcp:stdio:"
_NEVER_SHOWN = logging.CRITICAL + 1

Catalogues = dict[str, list[dict[str, Any]]]
_fetched: ContextVar[Catalogues | None] = ContextVar("fetched", default=None)


class ToolSettings(ConversationSettings):
    """The keys of a source whose rows may name no tools."""

    tools: str | None = None
    """A JSON file that holds the list of tools, for rows that name none, or an MCP server: "mcp:stdio:COMMAND ARGS" or
    "mcp:https://host/path"."""

    tools_token_env: str | None = None
    """The environment variable whose value is sent to the MCP server's address as a bearer token."""


@contextmanager
def asked_once() -> Iterator[Catalogues]:
    """Ask each MCP server once while the block runs; yields what was fetched so far, by the run file's words."""
    catalogues: Catalogues = {}
    token = _fetched.set(catalogues)
    try:
        yield catalogues
    finally:
        _fetched.reset(token)


def is_server(tools: str | None) -> bool:
    """Return whether the words of `tools` name an MCP server rather than a file."""
    return tools is not None and tools.startswith(_PREFIX)


def offered_tools(settings: ToolSettings) -> tuple[Tool, ...]:
    """Return the tools for rows that name none.

    Raises:
        DataError: the file, or what the server lists, is missing or holds no tools.
    """
    if not settings.tools:
        return ()
    raw = _catalogue(settings) if is_server(settings.tools) else read_whole(settings.tools)
    offered = read_tools(raw, settings.tools)
    if not offered:
        raise DataError(f"{settings.tools}: holds no tools")
    return offered


def source_fingerprint(settings: ToolSettings) -> str:
    """Return a hash of the rows' files and of the tools.

    Raises:
        DataError: a file cannot be read, or the server not be asked.
    """
    if is_server(settings.tools):
        return value_sha256([files_fingerprint(settings.path), _catalogue(settings)])
    return files_fingerprint(settings.path, *([settings.tools] if settings.tools else []))


def recorded(catalogues: Catalogues) -> dict[str, Any]:
    """Return catalogues as `data/tools.json` has them: each with its hash."""
    return {spec: {"sha256": value_sha256(tools), "tools": tools} for spec, tools in sorted(catalogues.items())}


def changes_since(file: Path, catalogues: Catalogues) -> list[str]:
    """Return a line for each catalogue that is another one than the file recorded; none where there is no record."""
    try:
        before = parse_value(file.read_bytes(), str(file))
        lists = {spec: entry["tools"] for spec, entry in before.items() if spec in catalogues}
        names = {spec: {tool["name"]: tool for tool in tools} for spec, tools in lists.items()}
    except (OSError, DataError, KeyError, TypeError, AttributeError):
        return []
    lines = []
    for spec, old in names.items():
        new = {tool["name"]: tool for tool in catalogues[spec]}
        if old != new:
            added, gone = sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys())
            altered = sorted(name for name in old.keys() & new.keys() if old[name] != new[name])
            parts = [("new", added), ("gone", gone), ("altered", altered)]
            told = "; ".join(f"{word}: {shortened(', '.join(which))[1:-1]}" for word, which in parts if which)
            lines.append(f"{spec}: its tools are others than in the last run ({told or 'another order'})")
    return lines


def _catalogue(settings: ToolSettings) -> list[dict[str, Any]]:
    spec, known = str(settings.tools), _fetched.get()
    if known is not None and spec in known:
        return known[spec]
    tools = _fetch(spec, settings.tools_token_env)
    if known is not None:
        known[spec] = tools
    return tools


def _fetch(spec: str, token_env: str | None) -> list[dict[str, Any]]:
    """Return the name, the description and the input schema of each tool that a server lists.

    Raises:
        DataError: one line on why there is no list.
    """
    token = os.environ.get(token_env, "") if token_env else ""
    if token_env and not token:
        raise DataError(f"{spec}: the environment variable '{token_env}' of 'tools_token_env' is not set")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import anyio
            import httpx2
            from mcp import MCPError
    except ModuleNotFoundError as error:
        raise DataError(
            f"{spec}: needs the package '{error.name}', which is not installed: pip install 'calltune[mcp]'"
        ) from None
    logger = logging.getLogger("mcp")
    level = logger.level
    # What goes wrong is one line of ours.
    logger.setLevel(_NEVER_SHOWN)
    refusals: list[int] = []
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as heard:
        try:
            tools = anyio.run(_listed, spec, token, heard, refusals)
        except (OSError, ValueError, RuntimeError, MCPError, httpx2.HTTPError, ExceptionGroup) as error:
            raise DataError(f"{spec}: {_why(error, heard, refusals)}") from None
        finally:
            logger.setLevel(level)
    if not tools:
        raise DataError(f"{spec}: the server lists no tools")
    return tools


async def _listed(spec: str, token: str, heard: TextIO, refusals: list[int]) -> list[dict[str, Any]]:
    """Return the tools; `heard` takes what a command says of itself, `refusals` the numbers of HTTP errors."""
    import anyio
    import httpx2
    from mcp import Client, StdioServerParameters
    from mcp.client.stdio import stdio_client
    from mcp.client.streamable_http import streamable_http_client

    async def note(response: httpx2.Response) -> None:
        if response.status_code >= 400:
            refusals.append(response.status_code)

    async with AsyncExitStack() as stack:
        if spec.startswith(_COMMAND):
            command, *arguments = shlex.split(spec.removeprefix(_COMMAND)) or [""]
            if not command:
                raise ValueError("it names no command")
            started = StdioServerParameters(command=command, args=arguments, env=dict(os.environ))
            transport: Any = stdio_client(started, heard)
        elif spec.startswith(("mcp:https://", "mcp:http://")):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            http = httpx2.AsyncClient(headers=headers, timeout=SECONDS_TO_ANSWER, event_hooks={"response": [note]})
            await stack.enter_async_context(http)
            transport = streamable_http_client(spec.removeprefix(_PREFIX), http_client=http)
        else:
            raise ValueError("an MCP server is named as mcp:stdio:COMMAND, mcp:https://HOST or mcp:http://HOST")
        found: list[dict[str, Any]] = []
        with anyio.fail_after(SECONDS_TO_ANSWER):
            async with Client(transport, cache=None) as client:
                cursor = None
                for _ in range(_MOST_PAGES):
                    page = await client.list_tools(cursor=cursor)
                    for tool in page.tools:
                        entry = {"name": tool.name, "description": tool.description, "inputSchema": tool.input_schema}
                        found.append({key: value for key, value in entry.items() if value is not None})
                    cursor = page.next_cursor
                    if not cursor:
                        return found
        raise ValueError(f"the server goes on after {_MOST_PAGES:,} pages of tools")


def _why(error: BaseException, heard: TextIO, refusals: list[int]) -> str:
    """Return why a server gave no list, in one line that shows no secret."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if refusals:
        return f"the server answers with HTTP {refusals[-1]}"
    if isinstance(error, TimeoutError):
        return f"the server gave no list within {SECONDS_TO_ANSWER:.0f} seconds"
    if isinstance(error, OSError) and error.strerror:
        return f"the server cannot be started: {error.strerror}"
    heard.seek(0)
    lines = [line.strip() for line in heard.read().splitlines() if line.strip()]
    said = f" ({shortened(conceal(lines[-1]), 160)})" if lines else ""
    return f"the server gave no list: {shortened(conceal(' '.join(str(error).split())), 200)[1:-1]}{said}"
