"""`calltune mcp`, asked over stdio by the SDK's own client."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from planted_run import plant_run, run_file

from calltune.cli import main

SOURCE = Path(__file__).parents[2] / "src"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SOURCE)}


def talk(folder: Path, do: Callable[[Any], Awaitable[None]]) -> None:
    async def talked() -> None:
        command = ["-m", "calltune", "mcp", str(folder)]
        started = StdioServerParameters(command=sys.executable, args=command, env=ENVIRONMENT)
        with anyio.fail_after(120):
            async with Client(stdio_client(started), cache=None) as client:
                await do(client)

    anyio.run(talked)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    run = plant_run(folder / "runs" / "toy", number=8)
    assert main(["report", str(run_file(run))]) == 0
    rows = [
        {
            "messages": [{"role": "user", "content": f"Hello {n}"}, {"role": "assistant", "content": f"Hi {n}"}],
            "tools": [],
        }
        for n in range(3)
    ]
    (folder / "logs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "bad.toml").write_text('name = "bad"\nmodell = "m"\n', encoding="utf-8")
    (folder / "json.py").write_text("raise SystemExit('the folder was imported from')", encoding="utf-8")
    (tmp_path / "outside.jsonl").write_text("{}\n", encoding="utf-8")
    (folder / "link.jsonl").symlink_to(tmp_path / "outside.jsonl")
    return folder


def test_every_tool_answers(project: Path) -> None:
    async def do(client: Any) -> None:
        async def ask(name: str, **given: str) -> Any:
            answer = await client.call_tool(name, given)
            text = answer.content[0].text
            return text if answer.is_error else answer.structured_content

        tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == ["audit", "check", "list", "run_state", "report"]
        assert all(tool.annotations.read_only_hint and tool.description for tool in tools)

        assert (await ask("audit", path="logs.jsonl"))["rows"] == 3
        assert "no such" in await ask("audit", path="nowhere.jsonl")
        for path in ("../outside.jsonl", "link.jsonl", str(project.parent / "outside.jsonl")):
            assert f"outside of the folder that is served, {project}" in await ask("audit", path=path)

        checked = await ask("check", run_file="bad.toml")
        assert not checked["ok"]
        assert checked["problem"].startswith(f"{project / 'bad.toml'}: unknown key 'modell', did you mean 'model'?")

        assert [run["name"] for run in (await ask("list"))["result"]] == ["toy"]
        assert (await ask("run_state", run="runs/toy"))["name"] == "toy"
        assert "is not the folder of a run" in await ask("run_state", run="runs")

        told = await ask("report", run="runs/toy")
        assert told["verdict"]["word"] == json.loads((project / "runs/toy/report.json").read_text())["verdict"]["word"]
        assert Path(told["page"]).is_file()
        assert "holds no report.json" in await ask("report", run="runs")

    talk(project, do)


def test_it_ends_with_its_client_and_when_it_is_told_to(tmp_path: Path) -> None:
    def begun() -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "calltune", "mcp", str(tmp_path)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=ENVIRONMENT)
        assert process.stdin
        assert process.stdout
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}
        process.stdin.write(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}) + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["result"]["serverInfo"]["name"] == "calltune"
        return process

    left = begun()
    out, err = left.communicate(timeout=60)
    assert (left.returncode, out, err) == (0, "", "")
    stopped, since = begun(), time.monotonic()
    stopped.send_signal(signal.SIGTERM)
    assert stopped.wait(timeout=60) == 143
    assert time.monotonic() - since < 30
    stopped.communicate()


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mcp", str(tmp_path / "no")]) == 2
    assert capsys.readouterr().err == f"calltune: {tmp_path / 'no'}: no such folder\n"
