"""The questions that a model is trained on, each once, with the answer that is known to be right."""

from collections.abc import Sequence
from dataclasses import dataclass

from calltune.calling.layout import message_dicts, tool_dict
from calltune.files.hashes import value_sha256
from calltune.types import Behavior, Example, Message, Preference, Sample


@dataclass(frozen=True, slots=True)
class Question:
    """What the model is asked, and the known answer with its behaviour."""

    sample: Sample
    gold: Message
    behavior: Behavior

    @property
    def id(self) -> str:
        """The row's id, by which answers are kept and drawn."""
        return self.sample.id


def questions(examples: Sequence[Example], preferences: Sequence[Preference]) -> tuple[list[Question], list[str]]:
    """Every prompt of the training rows once, and the ids of those of which rows say different things.

    Rows contradict each other in behaviour, or in their calls; different wordings of one behaviour do not.
    """
    found: dict[str, Question] = {}
    contradicting, ids = dict[str, str](), set[str]()
    for row in (*examples, *preferences):
        key = value_sha256([message_dicts(row.prompt), [tool_dict(tool) for tool in row.tools]])
        gold = row.answers[0]
        if key not in found:
            # A row's id need not be its own: sources may share names of files.
            unique = row.id if row.id not in ids else f"{row.id}~{key[:8]}"
            ids.add(unique)
            found[key] = Question(Sample(unique, "mine", row.prompt, row.tools, row.behavior), gold, row.behavior)
        elif (found[key].behavior, found[key].gold.tool_calls) != (row.behavior, gold.tool_calls):
            contradicting[key] = found[key].id
    kept = [question for key, question in found.items() if key not in contradicting]
    return kept, list(contradicting.values())
