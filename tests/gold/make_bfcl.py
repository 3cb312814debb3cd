"""Record what the official BFCL checker says about answers.

To rows of the official files: `bfcl_verdicts.jsonl`; to our own rows: `bfcl_toy/answers.jsonl`; to rows made up at
random: `bfcl_random.json`. How its leaderboard weights the categories goes to `bfcl_weighting.json`.

    python -m venv V && V/bin/pip install --no-deps bfcl-eval==2026.3.23 && V/bin/python make_bfcl.py --bfcl FOLDER

Only the checker's own code decides: `_evaluate_single_ast_entry` and `_evaluate_single_relevance_entry` of
`bfcl_eval/eval_checker/eval_runner.py`, fed through the handler of an OpenAI-style model that takes dots out of names.
Whatever else the package wants to import (SDKs of model providers, tree-sitter, numpy) is replaced by empty modules.
Real rows are named by id and digest, their answers are made again by `bfcl_answers.py`, nothing of them is copied; one
letter stands for the verdict on each answer, in order. The rows of `bfcl_toy`, the answers to them and their labels are
our own, written by hand; `official` is filled in.
Not part of the test run: the tests read the files and need no bfcl-eval.
"""

import argparse
import collections
import csv
import importlib.abc
import importlib.machinery
import json
import string
import sys
import tempfile
import types
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import bfcl_random
from bfcl_answers import Answer, derive, digest, language_of

HERE = Path(__file__).parent
PACKAGE = "2026.3.23"
WHEEL_SHA256 = "3bb6dfa5f0c68ad403c9ec50b00db2bb3b4cc9b38ab1ff33f48fe30d853d3a0a"
MODEL = "qwen3-0.6b-FC"  # its entry says `underscore_to_dot`, and answers are names with JSON arguments
CORRECT = "correct"
RANDOM = {"seed": 0, "num_questions": 1_500}


class EmptyModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds every module that is not installed, and finds nothing in it but names."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "bfcl_eval":
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return _EmptyModule(spec.name)

    def exec_module(self, module):
        pass


class _EmptyModule(types.ModuleType):
    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "override":  # a decorator that must leave the method as it is
            return lambda method: method
        # Names in capitals may be base classes; a mock as a base would clash with real ones.
        return type(name, (_Anything,), {}) if name[0].isupper() else mock.MagicMock(name=name)


class _Anything:
    def __init__(self, *arguments, **named):
        pass

    def __getattr__(self, name):
        return mock.MagicMock(name=name)


def official_runner():
    """The checker's module and a handler that was never connected to anything."""
    if version("bfcl_eval") != PACKAGE:
        raise SystemExit(f"bfcl-eval {version('bfcl_eval')} is installed, expected {PACKAGE}")
    sys.meta_path.append(EmptyModules())
    from bfcl_eval.constants.model_config import MODEL_CONFIG_MAPPING
    from bfcl_eval.eval_checker import eval_runner

    config = MODEL_CONFIG_MAPPING[MODEL]
    handler = object.__new__(config.model_handler)
    handler.is_fc_model = config.is_fc_model
    return eval_runner, handler


def raw_result(answer: Answer):
    """An answer as the handler of an OpenAI-style model gives it to `decode_ast`."""
    if answer is None:
        return [{"get": '{"argument": '}]
    if isinstance(answer, str):
        return answer
    return [{name: json.dumps(arguments)} for name, arguments in answer]


def official_verdict(runner, handler, row, truth, answer) -> str:
    """`correct`, the official error type, or `raises:<Exception>` where the checker itself stops."""
    category = row["id"].rsplit("_", 1)[0]
    row = json.loads(json.dumps(row))
    if truth is None:
        entry = runner._evaluate_single_relevance_entry(handler, row["id"], raw_result(answer), row, MODEL, category)
        return CORRECT if entry["valid"] else entry["error_type"]
    language = language_of(row["id"]).upper()
    try:
        entry = runner._evaluate_single_ast_entry(
            handler, row["id"], raw_result(answer), truth, row, MODEL, category,
            runner.Language[language], runner.ReturnFormat[language],
        )  # fmt: skip
    except Exception as error:  # noqa: BLE001 the checker has no error types of its own
        return f"raises:{type(error).__name__}"
    return CORRECT if entry["valid"] else entry["error_type"]


def read_rows(folder: Path):
    """Rows of a folder in BFCL's layout with their ground truth, or None where no call is compared."""
    for path in sorted(folder.glob("BFCL_v4_*.json")):
        answers = folder / "possible_answer" / path.name
        truths = {}
        if answers.exists():
            truths = {r["id"]: r["ground_truth"] for r in map(json.loads, filter(str.strip, answers.open()))}
        for row in map(json.loads, filter(str.strip, path.open())):
            yield row, truths.get(row["id"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bfcl", type=Path, required=True, help="folder with BFCL_v4_*.json and possible_answer/")
    folder = parser.parse_args().bfcl
    runner, handler = official_runner()

    recorded = []
    for row, truth in read_rows(folder):
        answers = derive(row, truth)
        verdicts = [official_verdict(runner, handler, row, truth, answer) for answer in answers.values()]
        recorded.append((row["id"], digest(answers), list(answers), verdicts))
    outcomes = collections.Counter(v for *_, verdicts in recorded for v in verdicts)
    letters = letters_of(outcomes)
    header = {
        "bfcl_eval": PACKAGE,
        "wheel_sha256": WHEEL_SHA256,
        "model": MODEL,
        "num_answers": sum(outcomes.values()),
        "outcomes": {letter: outcome for outcome, letter in letters.items()},
    }
    with (HERE / "bfcl_verdicts.jsonl").open("w") as file:
        file.write(json.dumps(header) + "\n")
        for row_id, row_digest, _, verdicts in recorded:
            line = {"id": row_id, "answers": row_digest, "verdicts": "".join(letters[v] for v in verdicts)}
            file.write(json.dumps(line) + "\n")
    print_counts(recorded)

    record_weighting()
    record_random(runner, handler)

    toy_rows = {row["id"]: (row, truth) for row, truth in read_rows(HERE / "bfcl_toy")}
    path = HERE / "bfcl_toy" / "answers.jsonl"
    toy = [json.loads(line) for line in path.open()]
    with path.open("w") as file:
        for line in toy:
            line["official"] = official_verdict(runner, handler, *toy_rows[line["id"]], line["answer"])
            file.write(json.dumps(line) + "\n")


def letters_of(outcomes):
    """A letter for each outcome, `+` for a correct answer."""
    return dict(zip([CORRECT, *sorted(set(outcomes) - {CORRECT})], "+" + string.ascii_letters, strict=False))


def record_random(runner, handler):
    """The verdicts on random answers, a text of letters for each question, in order."""
    made = list(bfcl_random.questions(**RANDOM))
    recorded = [
        [official_verdict(runner, handler, row, truth, answer) for answer in given] for row, truth, given in made
    ]
    outcomes = collections.Counter(verdict for verdicts in recorded for verdict in verdicts)
    letters = letters_of(outcomes)
    gold = {
        "bfcl_eval": PACKAGE,
        **RANDOM,
        "questions": digest(made),
        "num_answers": sum(outcomes.values()),
        "outcomes": {letter: outcome for outcome, letter in letters.items()},
        "verdicts": ["".join(letters[verdict] for verdict in verdicts) for verdicts in recorded],
    }
    (HERE / "bfcl_random.json").write_text(json.dumps(gold, indent=1) + "\n")
    print(json.dumps(outcomes, indent=1))


def record_weighting():
    """The leaderboard's own summary of made-up category scores, multi-turn and agentic ones being zero."""
    from bfcl_eval.constants.category_mapping import ALL_SCORING_CATEGORIES, SINGLE_TURN_CATEGORY
    from bfcl_eval.eval_checker.eval_runner_helper import generate_leaderboard_csv

    table = {category: {"accuracy": 0.0, "total_count": 1} for category in ALL_SCORING_CATEGORIES}
    counts = {category: (number, number + 2) for number, category in enumerate(SINGLE_TURN_CATEGORY, start=1)}
    for category, (correct, total) in counts.items():
        table[category] = {"accuracy": correct / total, "total_count": total}
    columns = {}
    with tempfile.TemporaryDirectory() as folder:
        generate_leaderboard_csv({MODEL: table}, Path(folder))
        for name in ("non_live", "live", "overall"):
            with (Path(folder) / f"data_{name}.csv").open() as file:
                columns[name] = next(csv.DictReader(file))
    official = {
        "non_live_ast": columns["non_live"]["AST Summary"],
        "live_ast": columns["live"]["AST Summary"],
        "irrelevance_mean": columns["overall"]["Irrelevance Detection"],
        "overall": columns["overall"]["Overall Acc"],
    }
    text = json.dumps({"bfcl_eval": PACKAGE, "correct_of_total": counts, "official": official}, indent=1)
    (HERE / "bfcl_weighting.json").write_text(text + "\n")


def print_counts(recorded):
    """What was recorded, by category, by rule and by outcome."""
    by_category, by_rule, by_outcome = collections.Counter(), collections.Counter(), collections.Counter()
    for row_id, _, rules, verdicts in recorded:
        for rule, verdict in zip(rules, verdicts, strict=True):
            rule = rule.split("@")[0].split(":")[0]
            by_category[row_id.rsplit("_", 1)[0]] += 1
            by_rule[rule, "correct" if verdict == CORRECT else "wrong"] += 1
            by_outcome[verdict] += 1
            if rule == "perfect" and verdict != CORRECT:
                print("perfect is not correct:", row_id, verdict)
    for counts in (by_category, by_rule, by_outcome):
        print(json.dumps({str(key): number for key, number in sorted(counts.items())}, indent=1))


if __name__ == "__main__":
    main()
