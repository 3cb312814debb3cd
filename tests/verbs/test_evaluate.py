import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import warm

from calltune.config.run_file import load_config
from calltune.errors import ConfigError, DataError, ModelError
from calltune.verbs import evaluate, prepare


def results(folder: Path) -> dict[str, dict]:
    return {str(path.parent.relative_to(folder)): json.loads(path.read_text()) for path in folder.rglob("result.json")}


def test_two_processes_give_what_one_gives(write_run_file: Callable[..., Path], tmp_path: Path) -> None:
    file = write_run_file()
    one = load_config(file, ["name=one"])
    prepare.run(one)
    evaluate.run(one)
    prepare.run(load_config(file, ["name=two"]))
    ranks = warm.run_together(2, "-m", "calltune", "evaluate", str(file), "name=two")
    assert [rank.returncode for rank in ranks] == [0, 0], ranks
    alone, together = results(tmp_path / "runs" / "one"), results(tmp_path / "runs" / "two")
    assert set(alone) == {"eval/base/when2call", "eval/base/when2call_generation"}
    for name, result in alone.items():
        other = together[name]
        assert other.pop("metrics") == pytest.approx(result.pop("metrics"))
        assert other == result
        files = sorted(path.name for path in (tmp_path / "runs" / "two" / name).iterdir())
        assert files == ["completions.jsonl", "inputs.json", "manifest.json", "result.json", "scores.jsonl"]


def test_it_goes_on_from_what_is_on_the_disk(write_run_file: Callable[..., Path], tmp_path: Path) -> None:
    config = load_config(write_run_file())
    prepare.run(config)
    evaluate.run(config)
    place = tmp_path / "runs" / "toy" / "eval" / "base" / "when2call"
    before, whole = (place / "result.json").read_text(), (place / "completions.jsonl").read_text()
    # As a kill leaves it: no manifest, some lines, the last one cut.
    lines = whole.splitlines(keepends=True)
    (place / "completions.jsonl").write_text(lines[0] + lines[1] + lines[2][:20])
    (place / "manifest.json").unlink()
    evaluate.run(config)
    assert (place / "result.json").read_text() == before
    assert (place / "completions.jsonl").read_text() == whole


def test_one_benchmark_twice_needs_labels(write_run_file: Callable[..., Path]) -> None:
    again = '[[evaluate.benchmarks]]\nname = "when2call"\npath = "{run}/data/test.jsonl"\nprompt = "official"\n'
    with pytest.raises(ConfigError, match="have one name; give one of them a 'label'"):
        load_config(write_run_file(again))
    config = load_config(write_run_file(again + 'label = "when2call_official"'))
    prepare.run(config)
    found = results(evaluate.run(config))
    assert found["base/when2call_official"]["prompt"] == "official (default)"
    assert found["base/when2call"]["prompt"] == "chat_template"
    assert found["base/when2call"]["data_sha256"] == found["base/when2call_official"]["data_sha256"]


def test_no_questions_is_an_error(write_run_file: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="no such file of questions"):
        evaluate.run(load_config(write_run_file()))


def test_a_model_without_a_template_takes_the_run_file_s(
    write_run_file: Callable[..., Path], tiny_model: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(tiny_model, bare, ignore=shutil.ignore_patterns("chat_template.jinja"))
    file = write_run_file(model=bare)
    named = load_config(file, [f"chat_template={tiny_model / 'chat_template.jinja'}"])
    prepare.run(named)
    with pytest.raises(ModelError, match="no chat template; name one as 'chat_template'"):
        evaluate.run(load_config(file))
    assert not (tmp_path / "runs" / "toy" / "eval" / "base").exists()
    usual = load_config(write_run_file(), ["name=usual"])
    prepare.run(usual)
    assert scores(evaluate.run(named)) == scores(evaluate.run(usual))


@pytest.mark.parametrize("name", ["result.json", "scores.jsonl"])
def test_what_was_removed_is_written_again(
    write_run_file: Callable[..., Path], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_config(write_run_file())
    prepare.run(config)
    folder = evaluate.run(config)
    before = written(folder)
    next(folder.rglob(name)).unlink()
    capsys.readouterr()
    evaluate.run(config)
    assert written(folder) == before
    assert capsys.readouterr().out.count("complete and unchanged, skipped") == len(list(folder.rglob(name))) - 1


def written(folder: Path) -> dict[Path, str]:
    return {path: re.sub(r'"seconds": [0-9.]+', "", path.read_text()) for path in folder.rglob("*.json*")}


def scores(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("scores.jsonl")}
