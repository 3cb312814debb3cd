"""From a model's answers to pairs, on the shipped tiny model, which calls a tool whatever it is asked."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import warm

from calltune.cli import main
from calltune.config.run_file import Config, load_config
from calltune.data.rows import read_examples, read_preferences
from calltune.errors import ConfigError, DataError, RunFolderError
from calltune.files.hashes import file_sha256
from calltune.files.manifest import model_sha256
from calltune.mining.answers import read_answers
from calltune.mining.questions import questions
from calltune.mining.verifying import ERRORS, verify
from calltune.verbs import dpo, mine, prepare

WARM = Path(__file__).parents[2] / "examples" / "tiny-qwen3"
MINE = "[mine]\nnum_answers = 3\nmax_new_tokens = 48\n"


@pytest.fixture
def prepared(write_run_file: Callable[..., Path]) -> Callable[..., Config]:
    """A run of the tiny model over toy rows, prepared; `words` are overrides."""

    def prepare_run(*words: str, extra: str = MINE, model: Path = WARM) -> Config:
        # With seed 0 one of the numbers lies within 5e-9 of an edge between two tokens, nearer than logits are known.
        config = load_config(write_run_file(extra, top='stages = ["dpo"]\nseed = 1', model=model), words)
        prepare.run(config)
        return config

    return prepare_run


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the answers to the questions of the run file as it comes are kept, once a test has drawn them."""
    return tmp_path_factory.mktemp("answered") / "answers"


@pytest.fixture
def mined(prepared: Callable[..., Config], answered: Path) -> Callable[..., Config]:
    """A run of which nothing but the answers may be there: drawn already, unless this is the first test to ask.

    Changed words must not change what is asked; where they do, mining moves the answers aside and draws its own.
    """

    def prepare_run(*words: str) -> Config:
        config = prepared(*words)
        if not answered.exists():
            mine.run(config)
            shutil.copytree(config.run_folder / "answers", answered)
            shutil.rmtree(config.run_folder / "mined")
        else:
            shutil.copytree(answered, config.run_folder / "answers")
        return config

    return prepare_run


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def test_every_pair_prefers_a_right_answer_to_a_mistake_of_the_model_s_own(
    prepared: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    config = prepared()
    folder = mine.run(config)
    data = config.run_folder / "data"
    asked, _ = questions(read_examples(data / "train.jsonl"), read_preferences(data / "preferences.jsonl"))
    by_id = {question.id: question for question in asked}
    answers = read_answers(config.run_folder / "answers")
    assert set(answers) == set(by_id)
    assert all(len(own) == 3 for own in answers.values())
    pairs = read_preferences(folder / "pairs.jsonl")
    for pair in pairs:
        question = by_id[pair.parent]
        verdicts = [(answer, verify(question, answer)) for answer in answers[question.id]]
        mistakes = [a for a, v in verdicts if v.error == pair.rule]
        assert pair.rejected in [a.message for a in mistakes] or pair.rejected.content in [a.text for a in mistakes]
        right = [a.message for a, v in verdicts if v.outcome == "right"]
        assert pair.chosen in [*right, question.gold]
        assert pair.chosen == question.gold or pair.behavior != "direct"
    told = read(folder / "statistics.json")
    assert told["num_answers"] == told["num_right"] + told["num_undecided"] + sum(told["num_wrong"].values()) == 120
    assert told["num_pairs"] == told["num_mined"] == len(pairs) > 8
    assert told["num_mined"] == sum(told["num_mined_by_error"].values()) == sum(told["num_mined_by_cell"].values())
    assert set(told["num_wrong"]) == set(ERRORS)
    assert told["num_wrong"]["needless_call"] > 20
    printed = capsys.readouterr().out
    assert "--- needless_call: '" in printed
    assert "mine: 40 of 40 questions are asked; 0 have contradicting answers" in printed
    mine.run(config)
    assert "mine: complete and unchanged, skipped" in capsys.readouterr().out


def test_a_killed_run_goes_on_and_ends_with_the_same_pairs(mined: Callable[..., Config]) -> None:
    config = mined()
    folder = mine.run(config)
    files = [config.run_folder / "answers" / "answers.jsonl", folder / "pairs.jsonl", folder / "statistics.json"]
    whole = [file.read_text() for file in files]
    # As a kill leaves it: no manifest, some lines, the last one cut.
    lines = whole[0].splitlines(keepends=True)
    files[0].write_text("".join(lines[:25]) + lines[25][:30])
    (files[0].parent / "manifest.json").unlink()
    shutil.rmtree(folder)
    mine.run(config)
    assert [file.read_text() for file in files] == whole


def test_other_pairs_of_the_same_answers_cost_no_second_drawing(
    prepared: Callable[..., Config], mined: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = mine.run(mined())
    answers = folder.parent / "answers" / "answers.jsonl"
    drawn = answers.stat().st_mtime_ns
    capsys.readouterr()
    mine.run(prepared("mine.num_pairs=5"))
    printed = capsys.readouterr().out
    assert "mine: the answers are complete and unchanged; they are paired anew" in printed
    assert "mined: settings changed since it was made; the old one is kept as mined.old-1" in printed
    assert answers.stat().st_mtime_ns == drawn
    assert len(read_preferences(folder / "pairs.jsonl")) == 5


def test_a_later_round_asks_what_the_one_before_it_made(
    write_run_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sft.max_steps=1", "dpo.max_steps=2", "dpo.learning_rate=1e-3", "export={}"]
    run_file = str(write_run_file(f"{MINE}rounds = 2\nnum_questions = 30\n", model=WARM))
    assert main(["run", run_file, *words]) == 0
    folder = tmp_path / "runs" / "toy"
    first, second = (read(folder / name / "manifest.json")["inputs"] for name in ("answers", "answers-2"))
    assert (first["model"], second["model"]) == (model_sha256(str(folder / "sft")), model_sha256(str(folder / "dpo")))
    asked = [set(read_answers(folder / name)) for name in ("answers", "answers-2")]
    assert len(asked[0]) == len(asked[1]) == 30
    assert asked[0] != asked[1]
    trained = read(folder / "dpo-2" / "manifest.json")["inputs"]
    assert trained["train rows"] == file_sha256(folder / "mined-2" / "pairs.jsonl")
    assert trained["model"] == second["model"]
    report = read(folder / "report.json")
    assert report["gate"]["checkpoint"] == "dpo-2"
    assert list(report["training"]) == ["sft", "dpo", "dpo-2"]
    assert list(report["mining"]) == ["mined", "mined-2"]
    assert "Mistakes that were mined for <code>mined-2</code>" in (folder / "report.html").read_text()
    card = (folder / "export" / "README.md").read_text()
    assert "supervised fine-tuning then preference optimisation in 2 rounds" in card
    assert "mined-2/pairs.jsonl" in card
    capsys.readouterr()
    assert main(["dpo", run_file, *words, "--round", "2"]) == 0
    assert "dpo-2: complete and unchanged, skipped" in capsys.readouterr().out
    assert main(["mine", run_file, *words, "--round", "3"]) == 2
    assert "--round 3: the run file has 2 of them ([mine] rounds)" in capsys.readouterr().err


def test_two_processes_mine_what_one_does(
    prepared: Callable[..., Config], mined: Callable[..., Config], tmp_path: Path
) -> None:
    one = mine.run(mined("name=one"))
    prepared("name=two")
    ranks = warm.run_together(2, "-m", "calltune", "mine", str(tmp_path / "run.toml"), "name=two")
    assert [rank.returncode for rank in ranks] == [0, 0], ranks
    two = tmp_path / "runs" / "two"
    for name in ("answers/answers.jsonl", "mined/pairs.jsonl", "mined/statistics.json"):
        assert (two / name).read_text() == (one.parent / name).read_text()
    assert not list(two.glob("answers/answers-*"))


def test_dpo_trains_on_what_was_mined(mined: Callable[..., Config]) -> None:
    config = mined("dpo.max_steps=1")
    with pytest.raises(RunFolderError, match=r"mined/manifest\.json: is missing; run the stage before this one"):
        dpo.run(config)
    pairs = mine.run(config) / "pairs.jsonl"
    manifest = read(dpo.run(config) / "manifest.json")
    assert manifest["inputs"]["train rows"] == file_sha256(pairs)
    assert manifest["counts"]["rows"] == len(read_preferences(pairs))


def test_given_pairs_are_mixed_in_by_share(mined: Callable[..., Config]) -> None:
    config = mined("mine.num_pairs=8", "mine.given_share=0.25", "mine.chosen=gold")
    folder = mine.run(config)
    given = {pair.id: pair for pair in read_preferences(config.run_folder / "data" / "preferences.jsonl")}
    pairs = read_preferences(folder / "pairs.jsonl")
    assert [pair.source for pair in pairs].count("mined") == 6
    assert [given[pair.id] == pair for pair in pairs if pair.source != "mined"] == [True, True]
    told = read(folder / "statistics.json")
    assert (told["num_pairs"], told["num_mined"], told["num_given"], told["num_chosen_own"]) == (8, 6, 2, 0)
    assert told["num_not_paired"]["beyond num_pairs"] > 0


def test_fewer_questions_are_some_of_them_with_the_same_answers(
    prepared: Callable[..., Config], mined: Callable[..., Config]
) -> None:
    runs = mined("name=every"), prepared("name=some", "mine.num_questions=10")
    every, some = (read_answers(mine.run(config).parent / "answers") for config in runs)
    assert (len(every), len(some)) == (40, 10)
    assert some == {key: every[key] for key in some}


def test_the_whole_way_is_one_command_and_the_model_card_tells_it(
    write_run_file: Callable[..., Path], tmp_path: Path
) -> None:
    words = ["sft.max_steps=1", "dpo.max_steps=1", "evaluate.benchmarks=[]", "export={}"]
    assert main(["run", str(write_run_file(MINE, model=WARM)), *words]) == 0
    folder = tmp_path / "runs" / "toy"
    assert read(folder / "dpo" / "manifest.json")["inputs"]["train rows"] == file_sha256(folder / "mined/pairs.jsonl")
    card = (folder / "export" / "README.md").read_text()
    assert '"num_answers": 3' in card
    assert "pairs.jsonl" in card


def test_without_a_mistake_that_can_be_learned_from(prepared: Callable[..., Config], tiny_model: Path) -> None:
    config = prepared("mine.max_new_tokens=2", "seed=0", model=tiny_model)
    with pytest.raises(DataError, match="the model made no mistake that can be learned from"):
        mine.run(config)
    assert not (config.run_folder / "mined" / "manifest.json").exists()


def test_what_is_missing(prepared: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match=r"'mine' needs the table \[mine\] in the run file"):
        mine.run(prepared("name=plain", extra=""))
    with pytest.raises(RunFolderError, match=r"sft/manifest\.json: is missing"):
        mine.run(prepared("name=no-sft", 'stages=["sft", "dpo"]'))
    with pytest.raises(ConfigError, match=r"\[mine\] needs the backend 'hf' or 'vllm': the openai backend draws none"):
        prepared("evaluate.backend=openai")
    with pytest.raises(ConfigError, match=r"\[mine\] makes pairs for 'dpo', which is not among the stages"):
        prepared("stages=[]")


def test_mining_is_not_a_job_on_sagemaker(
    write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(write_run_file(MINE)), "--on", "sagemaker"]) == 2
    assert "calltune: [mine] runs on this machine" in capsys.readouterr().err
