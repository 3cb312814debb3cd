"""Every kind of detail, through every layout: none of them is anywhere on disk or on the terminal."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from layout_rows import FILES
from personal import DETAILS, PATTERNS, leaks, planted, said
from rows_of import TOOL, assistant, call, result, user

from calltune.config.run_file import Config, load_config
from calltune.data.preparation import gather, open_sources
from calltune.errors import DataError
from calltune.files.json_lines import read_jsonl
from calltune.types import Example
from calltune.verbs import check, prepare


@pytest.fixture
def run_of(tmp_path: Path, tiny_model: Path) -> Callable[..., Config]:
    def make(sources: str, *overrides: str, more: str = "", redact: str = "") -> Config:
        file = tmp_path / "run.toml"
        patterns = "\n".join(f"{name} = {json.dumps(pattern)}" for name, pattern in PATTERNS.items())
        file.write_text(
            f'name = "own"\nmodel = "{tiny_model}"\noutput = "{tmp_path}/runs"\n'
            "[tracking]\nmlflow = false\n"
            '[data]\nallow_missing = ["direct", "tool_call", "request_for_info", "cannot_answer"]\n'
            f"{more}\n[data.redact]\n{redact}\n[data.redact.patterns]\n{patterns}\n{sources}"
        )
        return load_config(file, overrides)

    return make


def everything(folder: Path) -> str:
    return "\n".join(
        f"{path}\n{path.read_bytes().decode('utf-8', 'replace')}"
        for here, _, names in os.walk(folder)
        for path in (Path(here) / name for name in names)
    )


def calling(arguments: Any) -> dict[str, Any]:
    return assistant(None, tool_calls=[{"function": {"name": "find", "arguments": arguments}}])


def broken_rows(detail: str) -> list[str]:
    """Rows that are rejected, each for another reason, with a detail where the reason may show it."""
    chat = [user(said(detail)), assistant(None, tool_calls=[call(detail)])]
    return [
        json.dumps({"messages": [user(said(detail)), {"role": said(detail), "content": "a"}]}),
        json.dumps({"messages": [user(said(detail))], "tools": [TOOL]}),
        json.dumps({"messages": chat, "tools": [TOOL], "weight": said(detail)})[:-1],
        json.dumps({"messages": [user(), assistant(said(detail), finish_reason="length")], "note": said(detail)}),
        json.dumps({"messages": [*chat, result(said(detail), "c9")], "tools": [TOOL]}),
        json.dumps({said(detail): 1, "messages": said(detail)}),
        json.dumps({"messages": [user(), assistant(f"<think>{said(detail)}</think>")]}),
        json.dumps({"messages": [user(), assistant(f"<think>{said(detail)}</think>It is so.")]}),
        json.dumps({"messages": [user(), assistant(None, tool_calls=[call(detail)])], "tools": said(detail)}),
        json.dumps({"messages": [user(said(detail)), calling(said(detail))], "tools": [TOOL]}),
        json.dumps({"messages": [user(said(detail)), calling({"what": 1, detail: 2})], "tools": [TOOL]}),
    ]


def test_no_detail_is_written_or_shown(
    run_of: Callable[..., Config], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sources = ""
    for number, (module, rows, settings) in enumerate(FILES):
        file = tmp_path / f"layout{number}.jsonl"
        lines = [json.dumps(planted(row, detail)) for detail in DETAILS for row in rows]
        file.write_text("\n".join(lines))
        name = module.__name__.removeprefix("calltune.data.sources.")
        sources += f'[[data.sources]]\nname = "{name}"\npath = "{file}"\n'
        sources += "".join(f'{key} = "{value}"\n' for key, value in settings.items())
    file = tmp_path / "broken.jsonl"
    file.write_text("\n".join(line for detail in DETAILS for line in broken_rows(detail)))
    sources += f'[[data.sources]]\nname = "openai_traces"\npath = "{file}"\n'
    assert leaks(file.read_text(), DETAILS) == DETAILS
    config = run_of(sources)
    folder = prepare.run(config)
    check.run(config, 1)
    out = "".join(capfd.readouterr())
    counts = json.loads((folder / "manifest.json").read_text())["counts"]
    assert counts["rejected"] > 5 * len(DETAILS)
    assert counts["train"] + counts["preferences"] > 12 * len(DETAILS)
    assert leaks(everything(folder.parent), DETAILS) == []
    assert leaks(out, DETAILS) == []
    told = json.loads((folder / "manifest.json").read_text())["redacted"]
    assert {"email_address", "phone_number", "credit_card", "iban_code", "secret", "customer", "badge"} <= told.keys()
    assert "personal details were replaced by stand-ins" in out


def test_derived_rows_and_questions_hold_no_detail(
    run_of: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Which rows are held out hangs on their ids, of which the path is a part.
    monkeypatch.chdir(tmp_path)
    rows = [
        {
            "messages": [user(f"Look up {said(detail)} in {place}"), assistant(None, tool_calls=[call(detail)])],
            "tools": [TOOL],
        }
        for detail in DETAILS
        for place in ("Bonn", "Rome")
    ]
    file = Path("calls.jsonl")
    file.write_text("\n".join(map(json.dumps, rows)))
    source = f'[[data.sources]]\nname = "openai_traces"\npath = "{file}"\n'
    folder = prepare.run(run_of(source, more="[data.derive]\nheld_out = 0.3"))
    written = everything(folder.parent)
    assert leaks(written, DETAILS) == []
    assert len(list(read_jsonl(folder / "test.jsonl"))) > 3
    assert any(row["rule"] == "direct" for _, row in read_jsonl(folder / "train.jsonl"))


def test_a_file_that_is_wrong_as_a_whole_is_told_without_details(run_of: Callable[..., Config], tmp_path: Path) -> None:
    file = tmp_path / "unknown.jsonl"
    file.write_text(json.dumps({"alice.smith@corp-mail.com": 1, "4111111111111111": 2}))
    with pytest.raises(DataError, match="its layout is not known") as error:
        prepare.run(run_of(f'[[data.sources]]\nname = "auto"\npath = "{file}"\n'))
    assert leaks(str(error.value), DETAILS) == []


def test_twice_the_same(run_of: Callable[..., Config], tmp_path: Path) -> None:
    file = tmp_path / "calls.jsonl"
    rows = [{"messages": [user(said(detail)), assistant("yes")], "tools": [TOOL]} for detail in DETAILS]
    file.write_text("\n".join(map(json.dumps, rows)))
    source = f'[[data.sources]]\nname = "openai_traces"\npath = "{file}"\n'
    first = (prepare.run(run_of(source)) / "train.jsonl").read_bytes()
    again = (prepare.run(run_of(source, f'output="{tmp_path}/again"')) / "train.jsonl").read_bytes()
    other = (prepare.run(run_of(source, f'output="{tmp_path}/other"', "seed=1")) / "train.jsonl").read_bytes()
    assert first == again
    assert first != other


def test_a_thought_that_is_kept_holds_no_detail(run_of: Callable[..., Config], tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [{"messages": [user(), assistant("It is so.", reasoning_content=said(detail))]} for detail in DETAILS]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = run_of(f'[[data.sources]]\nname = "openai_traces"\npath = "{file}"\n', "chat.thinking=on")
    with gather(config, open_sources(config)) as gathered:
        thoughts = [row.messages[-1].thought for _, row in gathered.rows if isinstance(row, Example)]
    assert len(thoughts) == len(DETAILS)
    assert all(thoughts)
    assert leaks("\n".join(thoughts), [*DETAILS]) == []
