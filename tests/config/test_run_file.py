from pathlib import Path

import pytest

from calltune.config.run_file import load_config
from calltune.errors import ConfigError

GOOD = """
name = "toy"
model = "some/model"
[[data.sources]]
name = "synthetic"
num_examples = 3
[sft]
learning_rate = 1e-5
"""


def write(folder: Path, text: str) -> Path:
    (folder / "run.toml").write_text(text)
    return folder / "run.toml"


def test_values_and_defaults(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, GOOD))
    assert config.sft == {"learning_rate": 1e-5}
    assert config.data.sources[0].options == {"num_examples": 3}
    assert config.run_folder == Path("runs/toy")
    assert config.checkpoint_folder("base") == "some/model"
    assert config.checkpoint_folder("dpo") == "runs/toy/dpo"


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("sft.learning_rate=2e-5", lambda c: c.sft["learning_rate"] == 2e-5),
        ("dpo.loss_type=['sigmoid', 'sft']", lambda c: c.dpo["loss_type"] == ["sigmoid", "sft"]),
        ("model=other/model", lambda c: c.model == "other/model"),
        ("data.sources.0.num_examples=7", lambda c: c.data.sources[0].options["num_examples"] == 7),
        ("tracking.mlflow=false", lambda c: c.tracking.mlflow is False),
        ("seed = 4", lambda c: c.seed == 4),
    ],
)
def test_overrides(tmp_path: Path, override: str, read) -> None:
    assert read(load_config(write(tmp_path, GOOD), [override]))


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("name = ", [], "not valid TOML"),
        (GOOD + "[tunning]\nmethod='full'", [], "unknown key 'tunning', did you mean 'tuning'?"),
        (GOOD + "[tuning]\nmetod='full'", [], "unknown key 'tuning.metod', did you mean 'method'?"),
        (GOOD + "[export]\ndtyp='float32'", [], "unknown key 'export.dtyp', did you mean 'dtype'?"),
        (GOOD, ["zzz=1"], "sft, stages, tracking, tuning)"),
        (GOOD, ["data.sources=3"], "'data.sources': input should be a list, not 3"),
        (GOOD + "[tuning]\nmethod='half'", [], "'tuning.method'"),
        (GOOD, ["seed=many"], "'seed'"),
        (GOOD, ["sft.hub_token=hf_x"], "'sft.hub_token': a run file holds no secret; set HF_TOKEN"),
        (GOOD, ["stages=['dpo','sft']"], "'stages': must be"),
        (GOOD.replace('name = "toy"', ""), [], "'name' is missing"),
        (GOOD.replace('"toy"', '"../up"'), [], "'name'"),
        ("name='a'\nmodel='b'\n[data]\nsources=[]", [], "'data.sources'"),
        (GOOD + f"[dpo]\na = {'7' * 5000}", [], "not valid TOML: a number of thousands of digits"),
        (GOOD + f"[dpo]\na = {'[' * 5000}", [], "TOML nested too deeply"),
        (GOOD, [f"seed={'7' * 5000}"], "'seed'"),
        (GOOD, [f"seed={'[' * 5000}"], "'seed'"),
        (GOOD, ["seed"], "must be key.path=value"),
        (GOOD, ["data.sources.5.limit=1"], "there is no '5'"),
    ],
)
def test_mistakes_are_one_line_that_names_the_key(tmp_path: Path, text: str, overrides: list, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(write(tmp_path, text), overrides)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert "hf_x" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"name": "x", "seed": 1, "seed": 1}', "the key 'seed' occurs twice in one object"),
        ('{"name": ', "not valid JSON: Expecting value: line 1 column 10"),
        (f'{{"seed": {"7" * 5000}}}', "not valid JSON: a number of thousands of digits"),
        ("[" * 100_000, "JSON nested too deeply"),
        ("[]", "not a table of JSON"),
    ],
    ids=["twice", "cut off", "digits", "bottomless", "list"],
)
def test_mistakes_in_json_are_one_line_too(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        load_config(tmp_path / "config.json")
    assert str(error.value).startswith(f"{tmp_path / 'config.json'}: ")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such run file"):
        load_config(tmp_path / "no.toml")
    with pytest.raises(ConfigError, match="is a folder"):
        load_config(tmp_path)
    (tmp_path / "bytes.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(ConfigError, match="not UTF-8 text at byte 8"):
        load_config(tmp_path / "bytes.toml")
