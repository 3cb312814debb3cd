"""`calltune audit`: what files are, without a run file, a model or torch; a mistake is one line."""

import gzip
import json
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from quickness import quickest

from calltune.cli import main
from calltune.config.run_file import load_config

TRACES = Path(__file__).parents[1] / "material" / "traces"
FIND = {
    "type": "function",
    "function": {
        "name": "find_city",
        "description": "Find.",
        "parameters": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    },
}


def row(question: str, *answers: Any, tools: Any = (FIND,)) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, *answers], "tools": list(tools)}


def says(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def calls(name: str, arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments)}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": function}]}


ROWS = [
    row("Where is Ulm?", calls("find_city", {"name": "Ulm"}), {"role": "tool", "tool_call_id": "1", "content": "here"}),
    row("Where is Ulm?", calls("find_city", {"name": "Ulm"})),
    row("Where is Bonn? Write to ann@example.org or 0171 1234567.", calls("find_city", {"nam": "Bonn"})),
    row("Where is Rome?", calls("find_town", {"name": "Rome"})),
    row("Where is Kiel?", calls("find_city", {"name": "Kiel"}), {"role": "tool", "content": "Error: no such city"}),
    row("Where is it?", says("Which city do you mean? My number is ann@example.org.")),
    row("Where is Lyon?", calls("find_city", '{"name": "Ly')),
]


def written(folder: Path, *rows: Any, name: str = "rows.jsonl") -> Path:
    file = folder / name
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def audit(capsys: pytest.CaptureFixture[str], path: Path, *words: str) -> dict[str, Any]:
    assert main(["audit", str(path), "--json", *words]) == 0
    shown = capsys.readouterr()
    assert shown.out.count("\n") == 1
    return json.loads(shown.out)


def test_all_that_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = written(tmp_path, *ROWS)
    told = audit(capsys, file)
    (layout,) = told["files"]
    assert (layout["layout"], layout["source"], layout["files"], layout["rows"]) == (
        *("a chat's messages", "openai_traces"),
        *(1, 7),
    )
    assert (told["rows"], told["answers"], told["pairs"], told["unread"]) == (7, 6, 0, 1)
    assert told["behaviors"]["answers"]["tool_call"] == {"found": 5, "trainable": 1}
    assert told["behaviors"]["answers"]["request_for_info"] == {"found": 1, "trainable": 1}
    assert told["trainable"] == {
        "answers": 2,
        "pairs": 0,
        "deciding_calls": 1,
        "left_out": {"duplicate": 1, "invalid_call": 1, "foreign_tool": 1, "failed_call": 1, "broken": 1},
    }
    assert told["tools"] == [
        {"name": "find_city", "offered": 6, "called": 4, "broken": 1, "unknown_arguments": {"nam": 1}},
        {"name": "find_town", "offered": 0, "called": 1, "broken": 1, "unknown_arguments": {}},
    ]
    assert told["broken_calls"] == {"missing_argument": 1, "unknown_argument": 1, "unknown_tool": 1}
    assert told["personal"] == {"email": {"values": 1, "rows": 2}, "phone": {"values": 1, "rows": 1}}
    assert told["findings"]["failed_call"]["share"] == pytest.approx(1 / 7)
    (reason,) = told["unread_because"]
    assert (reason["rows"], reason["id"]) == (1, f"{file}:7#1")
    assert "not valid JSON" in reason["reason"]
    assert told["next"] == f"calltune init {file}"
    assert told["conversations"] == 5
    assert "template" in told["not_looked_at"]


def test_the_command_to_type_next_writes_a_run_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the logs have the name of a template."""
    monkeypatch.chdir(tmp_path)
    for name, run_name in (("my logs", "my-logs"), ("traces", "traces")):
        Path(name).mkdir()
        written(Path(name), *ROWS)
        words = shlex.split(audit(capsys, Path(name))["next"])
        assert main(words[1:]) == 0
        capsys.readouterr()
        config = load_config(Path(f"{run_name}.toml"))
        (source,) = config.data.sources
        assert (config.name, source.name, Path(source.options["path"])) == (run_name, "auto", Path(name))


def test_plain_tables(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["audit", str(written(tmp_path, *ROWS))]) == 0
    shown = capsys.readouterr().out
    assert "rows.jsonl: 7 rows hold 6 answers, 1 that cannot be read" in shown
    assert "find_city" in shown
    assert "audit: personal details, by their form: email 1 in 2 rows, phone 1 in 1 rows" in shown
    assert "ann@example.org" not in shown
    assert shown.rstrip().splitlines()[-1].startswith("next: calltune init ")
    assert "\x1b" not in shown


def test_no_detail_is_shown_anywhere(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A reason may quote a value of the row."""
    kind = {"type": "object", "properties": {"name": {"type": "integer"}}}
    tool = {"type": "function", "function": {**FIND["function"], "parameters": kind}}
    file = written(tmp_path, row("Find.", calls("find_city", {"name": "ann@example.org"}), tools=[tool]), *ROWS)
    page = tmp_path / "page.html"
    told = audit(capsys, file, "--page", str(page))
    assert told["findings"]["invalid_call"]["first"]["reason"].startswith("'find_city' name: '[email]' is not of type")
    assert "ann@example.org" not in json.dumps(told)
    assert "ann@example.org" not in page.read_text()


def test_a_folder_of_logs_as_s3_has_them(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    record = (TRACES / "23_bedrock_invocation_log.jsonl").read_text().splitlines()[0]
    for hour in range(12):
        folder = tmp_path / "AWSLogs" / "1" / "BedrockModelInvocationLogs" / "eu-central-1" / f"{hour:02d}"
        folder.mkdir(parents=True)
        with gzip.open(folder / "log.json.gz", "wt") as file:
            file.write(record.replace("call_", f"call_{hour}"))
    (tmp_path / "AWSLogs" / "amazon-bedrock-logs-permission-check").write_text("")
    told = audit(capsys, tmp_path)
    (layout,) = told["files"]
    assert (layout["source"], layout["files"], layout["rows"]) == ("openai_traces", 12, 12)
    assert told["notes"] == [
        f"{tmp_path}: 1 file passed over, as no rows: AWSLogs/amazon-bedrock-logs-permission-check"
    ]
    assert told["answers"] >= 12


def test_a_file_of_no_known_layout_stops_nothing_beside_others(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    written(tmp_path, *ROWS)
    written(tmp_path, {"colour": "red"}, name="other.jsonl")
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "broken.json").write_bytes(b"[{}, \xff")
    told = audit(capsys, tmp_path)
    assert [Path(each["file"]).name for each in told["not_read"]["first"]] == [
        *("broken.json", "empty.jsonl", "other.jsonl"),
    ]
    assert told["rows"] == 7


@pytest.mark.parametrize("name", ["", "none.jsonl", "empty", "pipe", "text.jsonl", "unknown.jsonl", "numbers.json"])
def test_what_cannot_be_audited_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
    import os

    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text.jsonl").write_text("a text\n")
    (tmp_path / "unknown.jsonl").write_text('{"colour": "red"}\n')
    (tmp_path / "numbers.json").write_text("[1, 2]")
    page = tmp_path / "page.html"
    shutil.rmtree(tmp_path / "empty") if not name else None
    words = [str(tmp_path / name)] if name else [str(tmp_path / "empty")]
    assert main(["audit", *words, "--page", str(page)]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("calltune: ")
    assert (shown.err.count("\n"), shown.out, page.exists()) == (1, "", False)


@pytest.mark.parametrize("place", ["/proc/none/page.html", "file.txt/page.html"])
def test_a_page_that_cannot_be_written(capsys: pytest.CaptureFixture[str], tmp_path: Path, place: str) -> None:
    (tmp_path / "file.txt").write_text("")
    assert main(["audit", str(written(tmp_path, *ROWS)), "--json", "--page", str(tmp_path / place)]) == 2
    shown = capsys.readouterr()
    assert shown.out.count("\n") == 1
    assert json.loads(shown.out)["error"] in shown.err.splitlines()[-1]


class Elements(HTMLParser):
    """The names of all elements, and what they load."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.loads += [
            f"{tag} {key}" for key, value in attrs if key == "src" or (key == "href" and f"{value}"[0] != "#")
        ]
        assert not [key for key, _ in attrs if key == "style" or key.startswith("on")]


def test_the_page_is_inert(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    name = "<script>alert(1)</script>\u202egnp"
    tool = {"type": "function", "function": {**FIND["function"], "name": name}}
    file = written(tmp_path, row("Find.", calls(name, {"<img src=x>": 1}), tools=[tool]), *ROWS)
    page = tmp_path / "page.html"
    audit(capsys, file, "--page", str(page))
    elements = Elements()
    elements.feed(page.read_text())
    assert {"script", "img", "link", "iframe"}.isdisjoint(elements.names)
    assert elements.loads == []
    assert (elements.names.count("main"), elements.names.count("h1"), elements.names.count("style")) == (1, 1, 1)
    assert "[U+202E]" in page.read_text()
    assert "default-src 'none'" in page.read_text()


def test_several_processes_tell_the_same(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    many = [json.loads(json.dumps(ROWS[n % 7]).replace("Where", f"In {n}, where")) for n in range(1200)]
    told = audit(capsys, written(tmp_path, *many))
    assert told["rows"] == 1200
    assert told["findings"]["failed_call"]["rows"] == sum(n % 7 == 4 for n in range(1200))
    (tmp_path / "parts").mkdir()
    for start in range(0, 1200, 400):
        written(tmp_path / "parts", *many[start : start + 400], name=f"{start}.jsonl")
    parts = audit(capsys, tmp_path / "parts")
    assert [parts[key] for key in ("rows", "behaviors", "tools", "trainable", "personal")] == [
        told[key] for key in ("rows", "behaviors", "tools", "trainable", "personal")
    ]


def test_it_begins_at_once_and_without_torch(tmp_path: Path) -> None:
    """In seconds of the processor."""
    code = (
        "import sys, time\n"
        "from calltune.cli import main\n"
        "assert main(['audit', sys.argv[1]]) == 0\n"
        "heavy = {'torch', 'transformers', 'trl', 'mlflow', 'datasets'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "print(time.process_time())\n"
    )
    file = written(tmp_path, *ROWS)

    def seconds() -> float:
        done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return float(done.stdout.split()[-1])

    assert quickest(seconds, 1.0) < 1.0
