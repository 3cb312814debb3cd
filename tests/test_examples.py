"""Every run file in examples/ can be read, and names only what exists."""

import re
from pathlib import Path

import pytest

from calltune.arguments import lora_config, trl_arguments
from calltune.cli import main
from calltune.config import load_config
from calltune.evaluate import open_benchmarks
from calltune.prepare import open_sources

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "examples").glob("*.toml"))


def test_there_are_examples() -> None:
    assert len(FILES) >= 4


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_key_is_known(file: Path) -> None:
    config = load_config(file)
    assert open_sources(config)
    assert open_benchmarks(config)
    for stage in config.stages:
        trl_arguments(stage, config, Path("x"))
    lora_config(config)


@pytest.mark.parametrize("file", [f for f in FILES if f.stem.startswith("when2call")], ids=lambda file: file.stem)
def test_check_goes_as_far_as_the_hub(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(file)]) == 2
    shown = capsys.readouterr()
    assert "check: TRL and PEFT know every key of [sft], [dpo], [lora]" in shown.out
    assert re.fullmatch(r"calltune: model '\S+': not a local folder, and the Hugging Face Hub did not .*\n", shown.err)


def test_the_readme_names_every_file() -> None:
    """A stranger should guess the file from the feature; the file map may not go stale."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rooms = [
        path
        for path in (ROOT / "src" / "calltune").iterdir()
        if path.name not in ("__init__.py", "__main__.py", "__pycache__")
    ]
    missing = [path.name for path in rooms if f"`{path.name}" not in readme]
    assert not missing
