"""Run files to begin with: loadable, commented, and never in the way of what is there."""

import re
import tomllib
from pathlib import Path

import pytest

from calltune.cli import main
from calltune.config.run_file import load_config
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
