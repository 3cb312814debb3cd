import json
import resource
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from calltune.config.run_file import Config, load_config
from calltune.data.preparation import open_sources
from calltune.data.rows import read_examples, read_preferences
from calltune.errors import ConfigError, DataError, RunFolderError
from calltune.files.json_lines import read_jsonl
from calltune.verbs import prepare


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
    rows = {f"{name}.jsonl" for name in counts if name != "rows_read"}
    assert set(manifest["sha256"]) == {"changes.jsonl", "doctor.json", *rows}
    shown = capsys.readouterr().out
    assert "training data by behaviour" in shown
    assert "train 24, preferences 16" in shown
    prepare.run(load_config(write_run_file()))
    assert "prepare: complete and unchanged, skipped" in capsys.readouterr().out


def row(question: str, answer: str) -> dict:
    return {"tools": [], "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


@pytest.fixture
def own_config(tmp_path: Path, tiny_model: Path) -> Callable[..., Config]:
    """A run over rows in When2Call's layout, none of which calls a tool."""

    def make(rows: list[dict], *overrides: str) -> Config:
        data = tmp_path / "train_sft.jsonl"
        data.write_text("\n".join(map(json.dumps, rows)))
        file = tmp_path / "own.toml"
        file.write_text(
            f'name = "own"\nmodel = "{tiny_model}"\noutput = "{tmp_path}/runs"\n'
            f'[data]\nallow_missing = ["tool_call"]\n'
            f'[[data.sources]]\nname = "when2call"\npath = "{data}"\nsplit = "train_sft"\n'
        )
        return load_config(file, overrides)

    return make


def test_a_question_is_never_on_both_sides(own_config: Callable[..., Config]) -> None:
    rows = [row(f"question {n // 2}" + " " * (n % 2), f"answer {n}") for n in range(200)]
    folder = prepare.run(own_config(rows, "data.validation_fraction=0.3"))

    def questions(name: str) -> set[str]:
        return {e.messages[0].content.strip() for e in read_examples(folder / f"{name}.jsonl")}

    assert not questions("train") & questions("validation")
    assert 15 <= len(questions("validation")) <= 45


def test_no_rows(own_config: Callable[..., Config]) -> None:
    with pytest.raises(DataError, match="holds no rows"):
        prepare.run(own_config([]))


OWN_SOURCE = """
from calltune.config.table import Table
from calltune.types import Example, Message, Rejected
class Settings(Table):
    word: str = "hello"
def fingerprint(settings):
    return settings.word
def questions(settings):
    return iter(())
def row(id, question, answer, parent=""):
    messages = (Message("user", "first " + question), Message("assistant", "Well?"), Message("user", id))
    return Example(id, "mine", (*messages, Message("assistant", answer)), (), "direct", parent)
reads = []
def read(settings):
    reads.append(settings.word)
    for n in range(20):
        yield row(f"turn {n}", f"q{n // 2}", f"{settings.word} {n}")
    for n in range(20):
        yield row(f"child {n}", f"other {n}", f"{settings.word} {n}", parent=f"turn {n}")
    yield Rejected("file:7", "mine", "'messages' is missing", {"tools": []})
"""


@pytest.fixture
def own_source(
    tmp_path: Path, write_run_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Config]:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "my_rows.py").write_text(OWN_SOURCE)
    monkeypatch.syspath_prepend(tmp_path)

    def make(entry: str = "", *overrides: str) -> Config:
        source = f"data.sources=[{{name='package.my_rows'{entry}}}]"
        missing = "data.allow_missing=['tool_call', 'request_for_info', 'cannot_answer']"
        return load_config(write_run_file(), [source, missing, "evaluate.benchmarks=[]", *overrides])

    return make


def test_a_source_of_the_user_s_own(own_source: Callable[..., Config]) -> None:
    folder = prepare.run(own_source(", word='greetings'"))
    assert read_examples(folder / "train.jsonl")[0].messages[-1].content == "greetings 0"


def test_a_row_that_a_source_rejects_is_kept_with_its_reason(own_source: Callable[..., Config]) -> None:
    (rejected,) = lines(prepare.run(own_source()) / "rejected.jsonl")
    assert rejected == {
        "id": "file:7",
        "source": "package.my_rows",
        "finding": "broken",
        "reason": "'messages' is missing",
        "row": {"tools": []},
    }


@pytest.mark.parametrize(("word", "overrides"), [("plain", []), ("derived", ["data.derive.held_out=0.3"])])
def test_every_source_is_read_once_and_every_row_is_somewhere(
    own_source: Callable[..., Config], word: str, overrides: list[str]
) -> None:
    folder = prepare.run(own_source(f", word='{word}'", *overrides))
    reads: list[str] = sys.modules["package.my_rows"].reads  # type: ignore[attr-defined]
    assert reads.count(word) == 1
    names = ["train", "rejected", *["held_out"] * len(overrides)]
    ids = {name: [row["id"] for row in lines(folder / f"{name}.jsonl")] for name in names}
    assert all(ids.values())
    whole = [*(f"turn {n}" for n in range(20)), *(f"child {n}" for n in range(20)), "file:7"]
    assert sorted(row_id for own in ids.values() for row_id in own) == sorted(whole)


def test_a_full_disk_is_one_line(own_config: Callable[..., Config], tmp_path: Path) -> None:
    """A bound on file sizes fails writes as a full disk does, be it while rows wait or when they are written."""
    config = own_config([row(f"question {n}" * 50, f"answer {n}") for n in range(120)], "data.derive.held_out=0.3")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(RunFolderError, match=rf"{tmp_path}/runs/own: cannot be written: "):
            prepare.run(config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "runs").exists()


def test_turns_and_derived_rows_stay_on_their_question_s_side(own_source: Callable[..., Config]) -> None:
    folder = prepare.run(own_source("", "data.validation_fraction=0.4"))
    sides = {e.id: name for name in ("train", "validation") for e in read_examples(folder / f"{name}.jsonl")}
    assert len(sides) == 40
    assert set(sides.values()) == {"train", "validation"}
    for n in range(20):
        assert sides[f"turn {n}"] == sides[f"turn {n // 2 * 2}"] == sides[f"child {n}"]


@pytest.mark.parametrize(("weight", "copies"), [("0.25", {1: 10}), ("2.5", {2: 20, 3: 20}), ("3", {3: 40})])
def test_weight_keeps_a_share_or_repeats(own_source: Callable[..., Config], weight: str, copies: dict) -> None:
    folder = prepare.run(own_source(f", weight={weight}"))
    ids = [example.id for example in read_examples(folder / "train.jsonl")]
    assert len(set(ids)) == len(ids)
    assert Counter(Counter(row_id.split("~")[0] for row_id in ids).values()) == copies
    reasons = [r["reason"] for r in lines(folder / "rejected.jsonl") if r["finding"] == "weight"]
    left_out = 40 - len({row_id.split("~")[0] for row_id in ids})
    assert reasons == ["weight = 0.25 keeps 10 of the source's 40 rows"] * left_out


def test_another_seed_keeps_other_rows_and_limit_takes_the_first(own_source: Callable[..., Config]) -> None:
    kept = []
    for number in (1, 2):
        config = own_source(f", weight=0.5, limit=20, seed={number}", f"name=toy-{number}")
        kept.append({example.id for example in read_examples(prepare.run(config) / "train.jsonl")})
    assert kept[0] != kept[1]
    assert [len(k) for k in kept] == [10, 10]
    assert all(row_id.startswith("turn") for row_id in kept[0] | kept[1])


def test_the_seed_of_an_entry_reaches_a_source_that_makes_its_rows(write_run_file: Callable[..., Path]) -> None:
    (entry,) = open_sources(load_config(write_run_file(), ["data.sources.0.seed=5"]))
    assert entry[2].seed == 5


def test_the_number_of_workers_changes_no_byte(write_run_file: Callable[..., Path]) -> None:
    written = []
    for workers in (1, 3):
        overrides = [f"name=toy-{workers}", f"data.workers={workers}", "data.sources.0.num_examples=400"]
        folder = prepare.run(load_config(write_run_file(), overrides))
        written.append({path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".json"})
        written[-1]["doctor.json"] = (folder / "doctor.json").read_bytes()
    assert written[0] == written[1]
    assert len(written[0]["train.jsonl"].splitlines()) == 400


def test_decision_data_is_derived_from_calls(
    own_config: Callable[..., Config], capsys: pytest.CaptureFixture[str]
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
                {"role": "user", "content": f"For trip {number * 7}, what is the weather in City{number}?"},
                {"role": "assistant", "content": f"<TOOLCALL>{json.dumps(called)}</TOOLCALL>"},
            ],
        }
        for number in range(40)
        for called in [[{"name": "get_weather", "arguments": {"city": f"City{number}"}}]]
    ]
    folder = prepare.run(own_config(rows, "data.derive.held_out=0.3", "data.validation_fraction=0"))
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


def test_what_cannot_be_derived_from_is_said(
    own_config: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    prepare.run(own_config([row("q", "a")], "data.derive.held_out=0"))
    assert "warning: nothing was derived" in capsys.readouterr().out
    # One conversation at least is left to train on.
    folder = prepare.run(own_config([row("q", "b")], "data.derive.held_out=0.999999"))
    assert (len(lines(folder / "train.jsonl")), lines(folder / "held_out.jsonl")) == (1, [])


def test_a_wrong_key_of_derived_data_names_the_nearest(own_config: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'data.derive.cannot_anser', did you mean 'cannot_answer'\?"):
        own_config([], "data.derive.cannot_anser=0.5")
    with pytest.raises(ConfigError, match=r"model\.base_url' is missing"):
        own_config([], "data.derive.model={ model = 'm' }")


def test_rows_of_each_shape_stand_first_so_that_datasets_reads_the_file(
    own_config: Callable[..., Config], tmp_path: Path
) -> None:
    """The only calls come last, after far more than datasets looks at to learn what differs."""
    import datasets

    tool = {"name": "find_city", "parameters": {"properties": {"name": {"type": "str"}, "id": {"type": "int"}}}}
    rows = [row(f"What of {n}?", f"Which {n} do you mean?") for n in range(60)]
    for question, arguments in (("Find 1", {"id": 1}), ("Find Ulm", {"name": "Ulm"})):
        called = json.dumps([{"name": "find_city", "arguments": arguments}])
        rows.append({**row(question, f"<TOOLCALL>{called}</TOOLCALL>"), "tools": [tool]})
    file = prepare.run(own_config(rows, "data.validation_fraction=0")) / "train.jsonl"
    lines_of = [int(example.id.rpartition(":")[2]) for example in read_examples(file)]
    assert set(lines_of[:3]) >= {1, 61}
    assert len(lines_of) == 62
    datasets.disable_progress_bars()
    loaded = datasets.load_dataset("json", data_files=str(file), split="train", cache_dir=str(tmp_path), chunksize=4096)
    found = next(r for r in loaded if r["id"].endswith(":62"))
    assert found["messages"][-1]["tool_calls"][0]["function"]["arguments"] == {"name": "Ulm"}
