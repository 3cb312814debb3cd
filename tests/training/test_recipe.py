"""Which rows a stage trains on, and which of them belong together."""

from collections import defaultdict
from pathlib import Path

import pytest

from calltune.calling.chat import Chat
from calltune.config.data import GroupBy
from calltune.data.rows import training_row
from calltune.data.sources.agent import rows as agent
from calltune.files.json_lines import write_jsonl
from calltune.models.load import load_tokenizer
from calltune.training.recipe import FittedRows, fit_rows
from calltune.verbs import dpo, sft


@pytest.fixture(scope="module")
def chat(tiny_model: Path) -> Chat:
    return Chat(load_tokenizer(str(tiny_model)))


def fitted(chat: Chat, folder: Path, group_by: GroupBy | None) -> FittedRows:
    write_jsonl(folder / "rows.jsonl", map(training_row, agent.examples(0, 12)))
    return fit_rows(chat, sft.RECIPE, folder / "rows.jsonl", None, group_by)


def test_answers_of_one_conversation_are_one_group(chat: Chat, tmp_path: Path) -> None:
    rows, talks = fitted(chat, tmp_path, "conversation"), defaultdict(set)
    assert max(map(rows.groups.count, rows.groups)) > 2, "some conversations have several answers"
    for name, group in zip(rows.ids, rows.groups, strict=True):
        talks[name.split("#")[0]].add(group)
    assert all(len(groups) == 1 for groups in talks.values())
    assert len(set(rows.groups)) == len(talks) == 12


def test_rows_with_the_same_tools_are_one_group(chat: Chat, tmp_path: Path) -> None:
    assert len(set(fitted(chat, tmp_path, "tools").groups)) == 1


def test_rows_are_alone_where_nothing_is_asked(chat: Chat, tmp_path: Path) -> None:
    rows = fitted(chat, tmp_path, None)
    assert rows.groups == rows.ids


def test_pairs_of_one_prompt_are_one_group(chat: Chat, tmp_path: Path) -> None:
    pairs = list(agent.preferences(0, 6))
    write_jsonl(tmp_path / "pairs.jsonl", map(training_row, [*pairs, *pairs]))
    rows = fit_rows(chat, dpo.RECIPE, tmp_path / "pairs.jsonl", None, "conversation")
    assert rows.groups[:6] == rows.groups[6:]
    assert len(set(rows.groups)) == 6
