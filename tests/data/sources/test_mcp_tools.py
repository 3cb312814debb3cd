"""A catalogue from a real MCP server, for rows that name no tools."""

import http.server
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rows_of import TOOL, assistant, call, user

from calltune.config.run_file import load_config
from calltune.data.sources import auto, openai_traces
from calltune.data.sources.mcp_tools import asked_once, offered_tools
from calltune.errors import DataError
from calltune.files.hashes import value_sha256
from calltune.types import Example
from calltune.verbs import prepare

SERVER = Path(__file__).parents[2] / "material" / "mcp_catalogue.py"


def command(how: str, *more: str) -> str:
    return f"mcp:stdio:{shlex.join([sys.executable, str(SERVER), how, *more])}"


@pytest.fixture
def rows(tmp_path: Path) -> str:
    file = tmp_path / "calls.jsonl"
    calls = [[user(f"Find {what}"), assistant(None, tool_calls=[call(what)])] for what in ("it", "that", "this")]
    file.write_text("\n".join(json.dumps({"messages": messages}) for messages in calls))
    return str(file)


@pytest.mark.parametrize("source", [openai_traces, auto])
def test_rows_without_tools_get_all_pages_of_a_server(source: object, rows: str) -> None:
    settings = source.Settings(path=rows, tools=command("stdio"))  # pyright: ignore
    with asked_once() as catalogues:
        found = list(source.read(settings))  # pyright: ignore
        assert source.fingerprint(settings) == source.fingerprint(settings)  # pyright: ignore
    assert [type(row) for row in found] == [Example] * 3
    assert [tool.name for tool in found[0].tools] == ["find", "send", "stop"]
    assert found[0].tools[0].parameters["required"] == ["what"]
    (raw,) = catalogues.values()
    assert [set(entry) for entry in raw] == [{"name", "description", "inputSchema"}] * 3


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_a_server_on_the_net(rows: str) -> None:
    port = free_port()
    server = subprocess.Popen([sys.executable, SERVER, "http", str(port)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as trial:
                if trial.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        (tool,) = offered_tools(openai_traces.Settings(path=rows, tools=f"mcp:http://127.0.0.1:{port}/mcp"))
    finally:
        server.kill()
        server.wait()
    assert (tool.name, set(tool.parameters["properties"])) == ("find", {"what", "times"})


@contextmanager
def guarded(heard: list[str | None]) -> Iterator[int]:
    class Guard(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.headers["Authorization"])
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Guard) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_token_comes_from_the_environment_alone(
    rows: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    heard: list[str | None] = []
    with guarded(heard) as port:
        tools = f"mcp:http://127.0.0.1:{port}/mcp"
        settings = openai_traces.Settings(path=rows, tools=tools, tools_token_env="CATALOGUE_TOKEN")
        with pytest.raises(DataError, match="'CATALOGUE_TOKEN' of 'tools_token_env' is not set"):
            offered_tools(settings)
        monkeypatch.setenv("CATALOGUE_TOKEN", "abc123def456")
        with pytest.raises(DataError) as error:
            offered_tools(settings)
    assert str(error.value) == f"{tools}: the server answers with HTTP 401"
    assert set(heard) == {"Bearer abc123def456"}
    assert capfd.readouterr() == ("", "")


FAILING = {
    "mcp:stdio:there-is-no-such-command": "the server cannot be started: No such file or directory",
    f"mcp:stdio:{shlex.quote(sys.executable)} -c 'import sys; sys.exit(\"no settings\")'": r"\('no settings'\)",
    command("none"): "the server lists no tools",
    "mcp:ftp://host": "an MCP server is named as mcp:stdio:COMMAND",
    "mcp:http://127.0.0.1:9/mcp": "the server gave no list: ",
}


@pytest.mark.parametrize("tools", FAILING)
def test_what_goes_wrong_is_one_line(tools: str, rows: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match=FAILING[tools]) as error:
        offered_tools(openai_traces.Settings(path=rows, tools=tools))
    assert str(error.value).startswith(tools)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


def run_file(tmp_path: Path, model: Path, rows: str, tools: str) -> Path:
    file = tmp_path / "run.toml"
    file.write_text(
        f'name = "own"\nmodel = "{model}"\noutput = "{tmp_path}/runs"\nstages = ["sft"]\n[tracking]\nmlflow = false\n'
        f'[data]\n[[data.sources]]\nname = "openai_traces"\npath = "{rows}"\ntools = {json.dumps(tools)}\n'
    )
    return file


def test_a_run_keeps_the_catalogue_and_tells_of_another_one(
    rows: str, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tools = command("stdio")
    config = load_config(run_file(tmp_path, tiny_model, rows, tools))
    kept = json.loads((prepare.run(config) / "tools.json").read_text())
    assert kept[tools]["sha256"] == value_sha256(kept[tools]["tools"])
    assert len(kept[tools]["tools"]) == 3
    capsys.readouterr()
    prepare.run(config)
    assert "complete and unchanged" in capsys.readouterr().out
    monkeypatch.setenv("CATALOGUE", "Newly.")
    prepare.run(config)
    assert "its tools are others than in the last run (altered: find, send, stop)" in capsys.readouterr().out
    assert "Newly." in (config.run_folder / "data" / "train.jsonl").read_text()


def test_a_server_that_hangs_ends_with_the_command(rows: str, tmp_path: Path, tiny_model: Path) -> None:
    pid_file = tmp_path / "pid"
    file = run_file(tmp_path, tiny_model, rows, command("hang", str(pid_file)))
    begun = subprocess.Popen(
        [sys.executable, "-m", "calltune", "prepare", file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for _ in range(600):
        if pid_file.exists() and pid_file.read_text():
            break
        time.sleep(0.1)
    begun.send_signal(signal.SIGTERM)
    _, errors = begun.communicate(timeout=60)
    assert begun.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in errors
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
    assert not (tmp_path / "runs" / "own" / "data").exists()


def test_rows_that_name_tools_keep_them(tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text(json.dumps({"messages": [user(), assistant()], "tools": [TOOL]}))
    (row,) = openai_traces.read(openai_traces.Settings(path=str(file), tools=command("stdio")))
    assert isinstance(row, Example)
    assert [tool.description for tool in row.tools] == ["Find it."]
