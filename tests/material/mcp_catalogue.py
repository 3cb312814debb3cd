"""An MCP server for tests: `stdio`, one tool a page; `http PORT`; `hang`, which never answers; `none`, with no tool."""

import os
import sys
import time
from pathlib import Path
from typing import Any

from mcp.server.lowlevel import Server
from mcp.server.mcpserver import MCPServer
from mcp.server.stdio import stdio_server
from mcp_types import ListToolsResult, Tool, ToolAnnotations

NAMES = ("find", "send", "stop")


def tool(name: str) -> Tool:
    what = {"type": "string", "description": "what it is"}
    return Tool(
        name=name,
        title="Not for the model",
        description=f"To {name} something. {os.environ.get('CATALOGUE', '')}".strip(),
        input_schema={"type": "object", "properties": {"what": what}, "required": ["what"]},
        output_schema={"type": "object", "properties": {"done": {"type": "boolean"}}},
        annotations=ToolAnnotations(read_only_hint=True),
    )


async def pages(context: Any, params: Any) -> ListToolsResult:
    number = int(params.cursor) if params and params.cursor else 0
    last = number + 1 == len(NAMES)
    return ListToolsResult(tools=[tool(NAMES[number])], next_cursor=None if last else str(number + 1))


async def nothing(context: Any, params: Any) -> ListToolsResult:
    return ListToolsResult(tools=[])


async def on_stdio(server: Server[Any]) -> None:
    async with stdio_server() as (reads, writes):
        await server.run(reads, writes, server.create_initialization_options())


def main() -> None:
    how = sys.argv[1]
    if how == "hang":
        Path(sys.argv[2]).write_text(str(os.getpid()))
        time.sleep(600)
    if how == "http":
        served = MCPServer("catalogue")

        @served.tool(description="To find something.")
        def find(what: str, times: int = 1) -> str:
            return what * times

        served.run("streamable-http", port=int(sys.argv[2]))
        return
    import anyio

    anyio.run(on_stdio, Server("catalogue", on_list_tools=pages if how == "stdio" else nothing))


if __name__ == "__main__":
    main()
