"""Run files to begin with: loadable, commented, and never in the way of what is there."""

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest

from calltune.calling.layout import message_dicts, tool_dict
from calltune.cli import main
from calltune.config.run_file import load_config
from calltune.data.sources.agent.rows import examples
from calltune.types import Example
from calltune.verbs.init import TEMPLATES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_template_loads_and_says_what_each_key_is(
    template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", template]) == 0
    file = tmp_path / f"{template}.toml"
    assert load_config(file).stages == ("sft", "dpo")
    keys = [line for line in file.read_text().splitlines() if re.match(r"\w+ *=", line)]
    assert len(keys) > 15
    assert [line for line in keys if not re.search(r"#.*(default|required)", line)] == []


def test_the_quickstart_brings_its_model_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "-o", "deep/own.toml"]) == 0
    assert main(["check", "deep/own.toml", "plan.probe_seconds=0", "data.sources.0.num_examples=40"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep"]


def test_in_a_checkout_the_model_is_the_one_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["init", "-o", str(tmp_path / "own.toml")]) == 0
    assert (tmp_path / "own.toml").read_bytes() == (ROOT / "examples" / "quickstart.toml").read_bytes()


def test_nothing_is_overwritten_without_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("traces.toml").write_text("mine")
    assert main(["init", "traces"]) == 2
    assert capsys.readouterr().err == (
        "calltune: traces.toml: is there already; --force overwrites it, -o names another file\n"
    )
    assert Path("traces.toml").read_text() == "mine"
    Path("tiny-qwen3").mkdir()
    assert main(["init"]) == 2
    assert not Path("quickstart.toml").exists()
    assert main(["init", "--force"]) == main(["init", "traces", "--force"]) == 0
    assert Path("tiny-qwen3/model.safetensors").exists()


def test_a_wheel_carries_what_init_writes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    carried = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert {*carried} == {f"examples/{name}" for name in [*TEMPLATES.values(), "tiny-qwen3"]}
    for place, inside in carried.items():
        assert (ROOT / place).exists()
        assert inside == f"calltune/{place}"


def test_a_folder_that_may_not_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "traces", "-o", "/proc/nowhere/x.toml"]) == 2
    assert re.fullmatch(r"calltune: /proc/nowhere.*: cannot be written: .*\n", capsys.readouterr().err)


def test_logs_become_a_run_file_that_fits_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (60, 900):
        lines = [json.dumps(written(talk)) for talk in talks(number)]
        Path("my logs.jsonl").write_text("\n".join([*lines, '{"messages": [']))
        assert main(["init", "my logs.jsonl", "--force"]) == 0
        shown = capsys.readouterr().out
        assert f"found: {number} conversations, 10 tools, 1 broken row; " in shown
        assert shown.endswith("next: calltune check my-logs.toml\n")
        config = load_config(Path("my-logs.toml"))
        keys = [line for line in Path("my-logs.toml").read_text().splitlines() if re.match(r"\w+ *=", line)]
        assert [line for line in keys if not re.search(r"#.*(default|required)", line)] == []
        assert config.data.derive
        assert config.data.derive.held_out == "auto"
        steps, rate = stages(shown), config.sft["learning_rate"]
        assert all(100 <= number <= 1500 for number in steps.values()), steps
        assert rate == (1e-4 if steps["sft"] < 150 else 5e-5 if steps["sft"] < 600 else 2e-5)


def stages(shown: str) -> dict[str, int]:
    return {
        name: int(steps.replace(",", "")) for name, steps in re.findall(r"(sft|dpo) about .*? rows, (\S+) st", shown)
    }


def talks(number: int) -> list[Example]:
    """The last answers of so many conversations of the made-up agent, each with all before it."""
    return list({row.id.partition("#")[0]: row for row in examples(7, number)}.values())


def written(talk: Example, **more: Any) -> dict[str, Any]:
    return {"messages": message_dicts(talk.messages), "tools": [tool_dict(tool) for tool in talk.tools], **more}


def test_logs_without_tools_are_told_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [written(talk) for talk in talks(30)]
    Path("tools.json").write_text(json.dumps(rows[0]["tools"]))
    Path("logs.jsonl").write_text("\n".join(json.dumps({"messages": row["messages"]}) for row in rows))
    assert main(["init", "logs.jsonl"]) == 2
    shown = capsys.readouterr()
    assert "no row names the tools" in shown.err
    assert not Path("logs.toml").exists()
    (command,) = re.findall(r"type '(.*?)'", shown.err)
    assert main(shlex.split(command)[1:]) == 0
    (source,) = load_config(Path("logs.toml")).data.sources
    assert source.options == {"path": "logs.jsonl", "tools": "tools.json"}
    assert "30 conversations, 10 tools, no broken row" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["nowhere"], "nowhere: no such file or folder of logs, and no template (there are: quickstart, "),
        (["traces", "--tools", "x.json"], "--tools goes with the path of logs"),
        (["empty.jsonl"], "empty.jsonl"),
        (["poem.jsonl"], "poem.jsonl: its layout is not known"),
    ],
)
def test_what_is_no_log(
    words: list[str],
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.jsonl").write_text("")
    Path("poem.jsonl").write_text('{"line": "The sea rolls in"}')
    assert main(["init", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("calltune: ")
    assert problem in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("*.toml"))


def test_pairs_without_a_call_are_for_dpo_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    pair = {
        "prompt": [{"role": "user", "content": "Where is it?"}],
        "chosen": [{"role": "assistant", "content": "Where is what?"}],
        "rejected": [{"role": "assistant", "content": "I can't say."}],
        "tools": written(talks(1)[0])["tools"],
    }
    Path("pairs.jsonl").write_text(json.dumps(pair))
    assert main(["init", "pairs.jsonl"]) == 0
    config = load_config(Path("pairs.toml"))
    assert (config.stages, config.data.derive) == (("dpo",), None)
    assert [entry.options["path"] for entry in config.evaluate.benchmarks] == ["nvidia/When2Call"] * 2
    shown = capsys.readouterr().out
    assert "note: no call answers a user's message" in shown
    assert "test from When2Call, of the Hub" in shown
