"""Rows for a GPU without any file: token ids in the shapes of tool-calling data, and a source of texts for run files.

The shapes were counted on rows in When2Call's layout and on one agent's traces, with Qwen3's tokenizer: how long
prompts and answers are, and how much neighbours have in common. The ids themselves are drawn, which changes no work
that is measured. As a source it is named `material.gpu_rows`, where `bench` is on Python's path.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from calltune.config.table import Table
from calltune.data.sources import synthetic
from calltune.files.hashes import value_sha256
from calltune.types import Example, Preference, Tool

HEAD = 51  # tokens that all prompts of a template with tools begin with
FIRST_ID = 16  # those before it are special


@dataclass(frozen=True)
class Shapes:
    """Counts of tokens: of a usual prompt, a long answer, an agent's tools and long message, a usual question."""

    prompt: int = 520
    answer: int = 32
    tools: int = 835
    talk: int = 70
    question: int = 930
    vocabulary: int = 151_936


SMALL = Shapes(prompt=24, answer=6, tools=40, talk=6, question=24, vocabulary=3_072)
SMALL_HEAD = 8


class Ids:
    """Draws rows of token ids; one seed gives the same rows in any order of asking."""

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes
        self._head = self._some(random.Random("head"), HEAD if shapes.prompt > HEAD else SMALL_HEAD)

    def pairs(self, number: int) -> list[dict[str, Any]]:
        """As TRL's DPO collates them: a prompt with its tools, and two answers."""
        return [self._pair(random.Random(f"pair {row}")) for row in range(number)]

    def examples(self, number: int) -> list[dict[str, Any]]:
        """As TRL's SFT collates them, each with tools of its own."""
        rows = []
        for row in range(number):
            rng = random.Random(f"example {row}")
            rows.append(self._labelled(self._prompt(rng, self._shapes.prompt), self._answer(rng)))
        return rows

    def turns(self, number: int) -> list[dict[str, Any]]:
        """One row for each of an agent's turns: its tools never change, and a talk goes on over some rows."""
        tools = [*self._head, *self._some(random.Random("tools"), self._shapes.tools)]
        rows: list[dict[str, Any]] = []
        for talk in range(3 * number):
            rng = random.Random(f"talk {talk}")
            context = list(tools)
            for _ in range(rng.randint(2, 9)):
                context = [*context, *self._some(rng, rng.randint(4, self._shapes.talk))]
                rows.append(self._labelled(context, answer := self._answer(rng)))
                context = [*context, *answer]
            if len(rows) >= 3 * number:
                break
        # A trainer draws them in no order, so that few of a batch go on from one another.
        return random.Random("order").sample(rows, number)

    def questions(self, number: int) -> list[tuple[list[int], list[int]]]:
        """Four (prompt, answer) for each question; every two neighbours have their tools in common."""
        rows = []
        for question in range(number):
            tools = self._prompt(random.Random(f"tools {question // 2}"), 4 * self._shapes.question // 5)
            rng = random.Random(f"question {question}")
            prompt = [*tools, *self._some(rng, self._shapes.question // 5)]
            rows += [(prompt, self._answer(rng)) for _ in range(4)]
        return rows

    def _pair(self, rng: random.Random) -> dict[str, Any]:
        prompt = self._prompt(rng, self._shapes.prompt)
        return {"prompt_ids": prompt, "chosen_ids": self._answer(rng), "rejected_ids": self._answer(rng)}

    def _prompt(self, rng: random.Random, median: int) -> list[int]:
        # A quarter is longer than 1.45 times the median, a few nearly four times.
        length = min(round(3.75 * median), round(median * rng.lognormvariate(0, 0.55)))
        return [*self._head, *self._some(rng, max(2, length - len(self._head)))]

    def _answer(self, rng: random.Random) -> list[int]:
        return self._some(rng, rng.randint(self._shapes.answer // 3, self._shapes.answer))

    def _some(self, rng: random.Random, number: int) -> list[int]:
        return rng.choices(range(FIRST_ID, self._shapes.vocabulary), k=number)

    @staticmethod
    def _labelled(prompt: list[int], answer: list[int]) -> dict[str, Any]:
        return {"input_ids": [*prompt, *answer], "labels": [-100] * len(prompt) + answer}


def token_rows(rows: list[dict[str, Any]]) -> list[list[int]]:
    """The rows that a model sees: one of an example, two of a pair."""
    whole = []
    for row in rows:
        if "input_ids" in row:
            whole.append(row["input_ids"])
        else:
            whole += [row["prompt_ids"] + row[answer] for answer in ("chosen_ids", "rejected_ids")]
    return whole


class Settings(Table):
    """The keys of this source: so many rows for SFT, pairs for DPO, and questions to measure with."""

    num_examples: int
    num_pairs: int
    num_questions: int
    num_tools: int = 8


def _tools(settings: Settings) -> dict[str, Any]:
    """Tools that every row is offered before its own, as an agent's are."""
    rows = synthetic.examples(1, 40 * settings.num_tools)
    tools = {tool.name: tool for row in rows for tool in row.tools}
    return dict(list(tools.items())[: settings.num_tools])


def read(settings: Settings) -> Iterator[Example | Preference]:
    """Yield the examples, then the pairs."""
    tools = _tools(settings)
    rows = [*synthetic.examples(0, settings.num_examples), *synthetic.preferences(0, settings.num_pairs)]
    for row in rows:
        # A row that must do without a tool must not get it here.
        others = [tool for name, tool in tools.items() if name not in {each.name for each in row.tools}]
        kept = others if row.behavior != "cannot_answer" else others[:0]
        yield replace(row, tools=(*kept, *row.tools))


def fingerprint(settings: Settings) -> str:
    """Return a hash of the settings, which decide everything."""
    return value_sha256(settings.model_dump())


def questions(settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield held-out questions, in When2Call's test layout."""
    tools = _tools(settings)
    for row in synthetic.questions(0, settings.num_questions, "development"):
        names = {json.loads(tool)["name"] for tool in row["tools"]}
        others = [_published(tool) for name, tool in tools.items() if name not in names]
        yield {**row, "tools": [*(others if row["target_tool"] else []), *row["tools"]]}


def _published(tool: Tool) -> str:
    return json.dumps({"name": tool.name, "description": tool.description, "parameters": tool.parameters})
