"""Which of the training questions the model is asked."""

from collections.abc import Sequence
from dataclasses import dataclass

from calltune.data.randomness import unit_interval
from calltune.mining.questions import Question, questions
from calltune.mining.verifying import gold_problem
from calltune.types import Example, Preference


@dataclass(frozen=True, slots=True)
class Asked:
    """The questions that are asked, and the ids of those that are not.

    Of the latter, rows contradict each other, or the known answer cannot be verified: `problems` says why not.
    """

    questions: list[Question]
    contradicting: list[str]
    problems: dict[str, str]


def choose_asked(
    examples: Sequence[Example], preferences: Sequence[Preference], num_questions: int | None, seed: int
) -> Asked:
    """The questions whose known answer can be verified, or so many of them, drawn by seed and id."""
    found, contradicting = questions(examples, preferences)
    problems = {question.id: problem for question in found if (problem := gold_problem(question))}
    asked = [question for question in found if question.id not in problems]
    if num_questions:
        asked = sorted(asked, key=lambda question: unit_interval(seed, "asked", question.id))[:num_questions]
    return Asked(asked, contradicting, problems)
