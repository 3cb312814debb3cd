"""What is seen of one row, in whichever process looks at it."""

import json
from dataclasses import dataclass
from typing import Any

from calltune.data.audit.personal import personal_details
from calltune.data.doctor.contamination import AskedQuestions
from calltune.data.doctor.facts import Examiner, Facts
from calltune.types import Example, Preference, Rejected


@dataclass(slots=True)
class Seen:
    """What is known of a row.

    `personal` are kinds and digests of the details in its messages and calls. `decides` says whether the row is a call
    that answers a user's message, of which `[data.derive]` makes rows of the other behaviours.
    """

    facts: Facts
    personal: tuple[tuple[str, bytes], ...] = ()
    decides: bool = False


class Auditor:
    """Looks at rows without a model's template and without any benchmark."""

    def __init__(self) -> None:
        self._examiner = Examiner(None, AskedQuestions())

    def look(self, row: Example | Preference | Rejected, source: int) -> Seen:
        """Return what is seen of a row."""
        facts, line = self._examiner.look(row, source)
        if isinstance(row, Rejected):
            return Seen(facts, personal=personal_details(line))
        if any(finding == "broken" for finding, _ in facts.problems):
            return Seen(facts)
        decides = facts.kind == "example" and facts.has_call and row.prompt[-1:] and row.prompt[-1].role == "user"
        return Seen(facts, _personal(row), bool(decides))


def _personal(row: Example | Preference) -> tuple[tuple[str, bytes], ...]:
    messages = (*row.prompt, *row.answers, *(row.after if isinstance(row, Example) else ()))
    texts = [message.content for message in messages]
    texts += [_text(call.arguments) for message in messages for call in message.tool_calls]
    return tuple(dict.fromkeys(detail for text in texts for detail in personal_details(text)))


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
