"""The order in which `check` looks: what is here first, the Hub last."""

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from quickness import quickest
from trl_keys import real_keys

from calltune.cli import main
from calltune.config.stage_keys import KEYS_FILE, check_tables
from calltune.errors import ConfigError

KEYS = KEYS_FILE.read_bytes()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.sources=[{name='chat_jsonl', path='none.jsonl'}]", "none.jsonl: no such data file or folder"),
        ("evaluate.benchmarks=[{name='when2call', path='none.jsonl'}]", "none.jsonl"),
        ("sft.learnig_rate=1", "run.toml: unknown key 'sft.learnig_rate'"),
    ],
)
def test_the_hub_is_asked_when_all_else_is_right(
    override: str, message: str, write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(write_run_file()), "model=of/nobody", override]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Hub" not in shown.out + shown.err


def test_a_model_of_the_hub_is_told_after_the_questions_and_a_folder_before(
    write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(write_run_file())
    assert main(["check", file, "model=of/nobody"]) == 2
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1] == "INFO: 8 questions of 2 benchmarks can be read"
    assert "the Hugging Face Hub did not give its tokenizer: it" in shown.err
    assert main(["check", file, "plan.probe_seconds=0"]) == 0
    said = capsys.readouterr().out
    assert said.index("passes its proof") < said.index("questions of 2 benchmarks")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sft.learnig_rate=1", "unknown key 'sft.learnig_rate', did you mean 'learning_rate'?"),
        ("dpo.betta=1", "unknown key 'dpo.betta', did you mean 'beta'?"),
        ("lora.rank=1", "unknown key 'lora.rank'"),
        ("sft.output_dir=x", "'sft.output_dir' cannot be set: the run file's 'output' and 'name' say where"),
        ("sft.learning_rate='fast'", "'sft.learning_rate': input should be a valid number"),
        ("data.derive.held_otu=1", "unknown key 'data.derive.held_otu', did you mean 'held_out'?"),
        ("mine.round=1", "unknown key 'mine.round', did you mean 'rounds'?"),
    ],
)
@pytest.mark.parametrize("verb", ["check", "prepare", "report"])
def test_a_typo_in_any_table_is_told_by_every_verb(
    verb: str, override: str, message: str, write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, str(write_run_file()), override]) == 2
    assert message in capsys.readouterr().err


def test_what_the_run_file_alone_shows_is_told_together_and_at_once(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(
        'name = "x"\nmodel = "/nowhere"\nchat_template = "none.jinja"\n'
        '[[data.sources]]\nname = "auto"\npath = "none.jsonl"\ntools = "none.json"\n'
        '[evaluate]\nbackend = "hff"\n[[evaluate.benchmarks]]\nname = "when2call"\npath = "test.jsonl"\n'
    )
    code = (
        f"import sys, time\nfrom calltune.cli import main\nassert main(['check', {str(file)!r}]) == 2\n"
        "assert not {'torch', 'transformers', 'trl', 'datasets', 'mlflow'} & set(sys.modules)\n"
        "print(time.process_time())"
    )
    shown = []

    def seconds() -> float:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        shown.append((done.stdout.splitlines()[:-1], done.stderr))
        return float(done.stdout.split()[-1])

    assert quickest(seconds, 1.0) < 1.0
    lines, error = shown[0]
    assert lines == [
        "ERROR: evaluate.backend: unknown backend 'hff', did you mean 'hf'?",
        "ERROR: model '/nowhere': no such folder",
        "ERROR: data.sources.0: none.jsonl: no such data file or folder",
        "ERROR: data.sources.0.tools: none.json: no such file",
        "ERROR: evaluate.benchmarks.0: test.jsonl: no such file of questions",
        "ERROR: chat_template: none.jinja: no such file",
    ]
    assert error == "calltune: 6 errors, which the lines above tell; mend them and check again\n"


def test_too_little_is_a_warning_with_what_to_do(
    write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(write_run_file())
    words = [file, "dpo.num_train_epochs=1", "dpo.gradient_accumulation_steps=2", "sft.num_train_epochs=6"]
    words.append("evaluate.benchmarks.1.max_new_tokens=96")
    assert main(["check", *words]) == 0
    shown = capsys.readouterr().out
    assert "INFO: sft: 36 steps with 24 rows" in shown
    assert "WARNING: dpo: 2 steps with 16 pairs: too few to move a model much; raise dpo.num_train_epochs, " in shown
    for title in ("when2call", "when2call_generation"):
        assert f"WARNING: {title}: 8 test questions: only differences above 33 points can be seen; add conv" in shown
    assert shown.splitlines()[-1] == (
        f"3 warnings. Next: calltune run {' '.join(words)} (how long it takes: calltune check --time)"
    )


def test_the_keys_that_are_known_are_those_of_the_installed_classes() -> None:
    """After another version of TRL, transformers or PEFT: `python tests/material/trl_keys.py`."""
    assert json.loads(KEYS) == real_keys()


def test_another_version_of_trl_is_asked_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    known, versions = json.loads(KEYS)["versions"], {"trl": "9.9"}
    monkeypatch.setattr(metadata, "version", lambda package: versions.get(package, known[package]))
    check_tables({"sft": {"a_key_of_tomorrow": 1}})
    versions.clear()
    with pytest.raises(ConfigError, match=r"unknown key 'sft\.a_key_of_tomorrow'"):
        check_tables({"sft": {"a_key_of_tomorrow": 1}})


def test_a_path_beside_the_right_one_is_told_it(
    write_run_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mylogs.jsonl").write_text("{}")
    source = f"data.sources=[{{name='auto', path='{tmp_path}/mylog.jsonl'}}]"
    assert main(["check", str(write_run_file()), source]) == 2
    assert capsys.readouterr().err.endswith(
        f"data.sources.0: {tmp_path}/mylog.jsonl: no such data file or folder, did you mean "
        f"'{tmp_path}/mylogs.jsonl'?\n"
    )


def test_a_test_without_a_question_is_told_before_anything_is_trained(
    write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(write_run_file()), "data.sources.0.num_questions=0"]
    assert main(["check", *words]) == 2
    assert "when2call: no question can be made of what is held out; add conv" in capsys.readouterr().err
    assert main(["prepare", *words]) == 0
    assert capsys.readouterr().out.count("WARNING: when2call") == 2
