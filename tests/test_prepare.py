import json
from collections.abc import Callable
from pathlib import Path

import pytest

from calltune import prepare
from calltune.config import load_config
from calltune.errors import ConfigError, DataError
from calltune.rows import read_examples, read_jsonl, read_preferences


def lines(path: Path) -> list[dict]:
    return [row for _, row in read_jsonl(path)]


def test_rows_in_are_rows_out(
    write_run_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = prepare.run(load_config(write_run_file()))
    manifest = json.loads((folder / "manifest.json").read_text())
    counts = manifest["counts"]
    assert counts["rows_read"] == 40
    assert (counts["train"], counts["preferences"], counts["rejected"], counts["test"]) == (24, 16, 0, 8)
    assert len(read_examples(folder / "train.jsonl")) == 24
    assert len(read_preferences(folder / "preferences.jsonl")) == 16
    assert sum(manifest["behaviors"]["train"].values()) == 24
    assert set(manifest["sha256"]) == {f"{name}.jsonl" for name in counts if name != "rows_read"}
    shown = capsys.readouterr().out
    assert "training data by behaviour" in shown
    assert "train 24, preferences 16" in shown
    prepare.run(load_config(write_run_file()))
    assert "prepare: complete and unchanged, skipped" in capsys.readouterr().out


def own_rows(tmp_path: Path, rows: list[dict]) -> str:
    file = tmp_path / "train_sft.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return f'[[data.sources]]\nname = "when2call"\npath = "{file}"\nsplit = "train_sft"\n'


def row(question: str, answer: str) -> dict:
    return {"tools": [], "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def own_config(tmp_path: Path, rows: list[dict], *overrides: str):
    file = tmp_path / "own.toml"
    file.write_text(f'name = "own"\nmodel = "m"\noutput = "{tmp_path}/runs"\n{own_rows(tmp_path, rows)}')
    return load_config(file, overrides)


def test_a_duplicate_is_rejected_with_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = own_config(tmp_path, [row("q", "a"), row("q", "a"), row("q", "b")], "data.validation_fraction=0")
    folder = prepare.run(config)
    (rejected,) = lines(folder / "rejected.jsonl")
    assert (rejected["id"], rejected["reason"]) == ("train_sft:2", "the same as train_sft:1")
    assert [e.id for e in read_examples(folder / "train.jsonl")] == ["train_sft:1", "train_sft:3"]
    assert "warning: no training example calls a tool" in capsys.readouterr().out


def test_a_question_is_never_on_both_sides(tmp_path: Path) -> None:
    rows = [row(f"question {n // 2}" + " " * (n % 2), f"answer {n}") for n in range(200)]
    folder = prepare.run(own_config(tmp_path, rows, "data.validation_fraction=0.3"))

    def questions(name: str) -> set[str]:
        return {e.messages[0].content.strip() for e in read_examples(folder / f"{name}.jsonl")}

    assert not questions("train") & questions("validation")
    assert 15 <= len(questions("validation")) <= 45


def test_no_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the sources hold no rows"):
        prepare.run(own_config(tmp_path, []))


def test_a_source_of_the_user_s_own(
    tmp_path: Path, write_run_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "my_rows.py").write_text(
        "from calltune.options import Table\n"
        "from calltune.types import Example, Message\n"
        "class Settings(Table):\n    word: str\n"
        "def fingerprint(settings):\n    return settings.word\n"
        "def read(settings):\n"
        "    yield Example('1', 'mine', (Message('user', 'q'), Message('assistant', settings.word)), (), 'direct')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    overrides = ["data.sources=[{name='package.my_rows', word='hello'}]", "evaluate.benchmarks=[]"]
    folder = prepare.run(load_config(write_run_file(), overrides))
    assert read_examples(folder / "train.jsonl")[0].messages[-1].content == "hello"


def test_decision_data_is_derived_from_calls(
    tmp_path: Path, write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {
            "tools": [
                {
                    "name": name,
                    "description": description,
                    "parameters": {"type": "dict", "properties": {key: {"type": "str"}}, "required": [key]},
                }
                for name, description, key in (
                    ("get_weather", "Get the weather.", "city"),
                    ("play_song", "Play a song.", "title"),
                )
            ],
            "messages": [
                {"role": "user", "content": f"What is the weather in City{number}?"},
                {"role": "assistant", "content": f"<TOOLCALL>{json.dumps(called)}</TOOLCALL>"},
            ],
        }
        for number in range(40)
        for called in [[{"name": "get_weather", "arguments": {"city": f"City{number}"}}]]
    ]
    folder = prepare.run(own_config(tmp_path, rows, "data.derive.held_out=0.3", "data.validation_fraction=0"))
    manifest = json.loads((folder / "manifest.json").read_text())
    kept, asked = lines(folder / "held_out.jsonl"), lines(folder / "test.jsonl")
    train = read_examples(folder / "train.jsonl")
    assert kept
    assert len(asked) == manifest["counts"]["test"] >= 4
    assert {r.behavior for r in train} == {"direct", "tool_call", "request_for_info", "cannot_answer"}
    assert {r.rule for r in train} == {"", "cannot_answer", "request_for_info", "direct"} | {"other_tools"}
    assert not {r["id"] for r in kept} & {r.parent or r.id for r in train}
    assert {question["source_id"].split("~")[0] for question in asked} <= {r["id"] for r in kept}
    assert "derived from the calls, and what could not be" in capsys.readouterr().out
    assert read_preferences(folder / "preferences.jsonl")


def test_what_cannot_be_derived_from_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare.run(own_config(tmp_path, [row("q", "a")], "data.derive.held_out=0"))
    assert "warning: nothing was derived" in capsys.readouterr().out
    with pytest.raises(DataError, match="every conversation is held out"):
        prepare.run(own_config(tmp_path, [row("q", "b")], "data.derive.held_out=0.999999"))


def test_a_wrong_key_of_derived_data_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'data.derive.cannot_anser', did you mean 'cannot_answer'\?"):
        own_config(tmp_path, [], "data.derive.cannot_anser=0.5")
    with pytest.raises(ConfigError, match=r"model\.base_url' is missing"):
        own_config(tmp_path, [], "data.derive.model={ model = 'm' }")
