"""What an answer earns when a model learns from its own: the verifier's verdict in four parts that are added up.

The parts are pure functions of a question and an answer, and `TABLE` holds what each is worth. The best answer to a
question of any behaviour earns 1, an answer of another behaviour 0, and one that nobody can read -1. As questions of
every behaviour are asked equally often, whoever gives one behaviour's best answer to all of them earns the same, a
quarter, whichever behaviour that is: neither calling more nor calling less is a cheap way up.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from calltune.calling.behavior import message_behavior
from calltune.calling.chat import Chat
from calltune.calling.schema import call_problems
from calltune.mining.questions import Question
from calltune.mining.verifying import verify
from calltune.models.backends.tokens import completion
from calltune.types import Completion, Example, Sample

Part = Literal["readable", "behavior", "schema", "call"]

PARTS: tuple[Part, ...] = ("readable", "behavior", "schema", "call")
"""The parts in the order in which `[grpo] reward_weights` weighs them."""

TABLE = {"unreadable": -1.0, "behavior": 1.0, "called": 0.25, "schema": 0.25, "call": 0.5}
"""`behavior` is earned where a text is right; `called`, `schema` and `call`, which make 1 too, where a call is."""


@dataclass(frozen=True, slots=True)
class Reward:
    """The parts of what one answer earns."""

    readable: float = 0.0
    behavior: float = 0.0
    schema: float = 0.0
    call: float = 0.0

    @property
    def total(self) -> float:
        """All parts together, as they count without `reward_weights`."""
        return self.readable + self.behavior + self.schema + self.call


def reward(question: Question, answer: Completion) -> Reward | None:
    """What an answer earns; None where the model's logits were no numbers, of which nothing is learned."""
    if answer.status == "error":
        return None
    if answer.status != "ok" or answer.message is None:
        return Reward(readable=TABLE["unreadable"])
    if message_behavior(answer.message) != question.behavior:
        return Reward()
    if question.behavior != "tool_call":
        return Reward(behavior=TABLE["behavior"])
    keeps_schema = not any(call_problems(call, question.sample.tools) for call in answer.message.tool_calls)
    is_right = verify(question, answer).outcome == "right"
    return Reward(behavior=TABLE["called"], schema=TABLE["schema"] * keeps_schema, call=TABLE["call"] * is_right)


def as_question(row: Example) -> Question:
    """A training row as the question that is asked, with the known answer."""
    return Question(Sample(row.id, "grpo", row.prompt, row.tools, row.behavior), row.answers[0], row.behavior)


class Judge:
    """Judges the answers that TRL's trainer drew; each batch once for all its parts."""

    def __init__(self, chat: Chat, ends: Sequence[int], rows: Sequence[Example]) -> None:
        """Keep the questions.

        Args:
            chat: in the mode in which the questions are asked.
            ends: token ids that end an answer.
            rows: of training and validation, told by their number.
        """
        self._chat, self._ends = chat, frozenset(ends)
        self._questions = list(map(as_question, rows))
        self._asked: tuple[list[int], list[list[int]]] = [], []
        self._rewards: list[Reward | None] = []

    def of(self, numbers: list[int], answers: list[list[int]]) -> list[Reward | None]:
        """What the answers, as tokens, to the questions with these numbers earn."""
        if self._asked != (numbers, answers):
            found = []
            for number, tokens in zip(numbers, answers, strict=True):
                question = self._questions[number]
                found.append(reward(question, completion(self._chat, self._ends, question.sample, tokens)))
            self._asked, self._rewards = (list(numbers), [list(each) for each in answers]), found
        return self._rewards

    def functions(self) -> list[Callable[..., list[float | None]]]:
        """One reward function of TRL's for each of `PARTS`, under whose name its mean stands in the history."""
        return [self._function(part) for part in PARTS]

    def _function(self, part: Part) -> Callable[..., list[float | None]]:
        def rewards(*, completion_ids: list[list[int]], number: list[int], log_metric: Any, **others: Any) -> Any:
            found = self.of(number, completion_ids)
            if part == PARTS[0]:
                self._log(number, found, log_metric)
            return [None if each is None else getattr(each, part) for each in found]

        rewards.__name__ = part
        return rewards

    def _log(self, numbers: Sequence[int], rewards: Sequence[Reward | None], log_metric: Any) -> None:
        """Log how much is earned of each behaviour's questions, and how many answers nobody can read."""
        for number, earned in zip(numbers, rewards, strict=True):
            if earned is not None:
                log_metric(f"earned/{self._questions[number].behavior}", earned.total)
                log_metric("unreadable", float(earned.readable < 0))
