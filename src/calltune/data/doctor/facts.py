"""One row looked at by itself: what is wrong with it, how long it is, and what it is compared by."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from calltune.calling.identity import OncePerObject
from calltune.calling.layout import message_dicts, tool_dict
from calltune.calling.option_reading import read_options
from calltune.calling.schema import Problem, call_problems
from calltune.calling.thoughts import have_thoughts
from calltune.data.doctor import Finding
from calltune.data.doctor.contamination import AskedQuestions
from calltune.data.doctor.endings import ending
from calltune.data.doctor.noise import noise
from calltune.data.doctor.results import keys_of
from calltune.data.doctor.values import null_padding, unsound
from calltune.data.near import signature
from calltune.data.rows import training_row
from calltune.data.text import asked, digest, first_question, words
from calltune.errors import NotFiniteError
from calltune.files.json_lines import to_json
from calltune.types import Behavior, Example, Message, Preference, Rejected, Sample, plain

if TYPE_CHECKING:
    from calltune.calling.template_proof import Proof

Kind = Literal["example", "preference", "unread"]


@dataclass(slots=True)
class Facts:
    """What is known of a row once the row itself may be forgotten.

    `content` is a digest of all but id and origin, and `prompt` one of the tools and the messages before the answer.
    `question` is the first question. `tokens` are those of the prompt, then of each answer; there are none where no
    model's template was asked. `called` are the tools of the (chosen) answer's calls, and `faults` what is wrong with
    these: the kind, the tool, the argument. `ending` says how a text ends, `results` which tools gave which keys.
    `place` is where the spool holds the row's JSON line. `judge` fills in `verdict`: why the row is left out.
    """

    id: str
    source: int
    kind: Kind
    parent: str = ""
    behavior: Behavior | None = None
    has_call: bool = False
    has_thought: bool = False
    problems: list[tuple[Finding, str]] = field(default_factory=list)
    content: bytes = b""
    prompt: bytes = b""
    question: str = ""
    minima: bytes = b""
    tools: tuple[str, ...] = ()
    tokens: tuple[int, ...] = ()
    option_rule: tuple[bool, bool] | None = None
    called: tuple[str, ...] = ()
    faults: tuple[tuple[str, str, str], ...] = ()
    ending: tuple[str, tuple[str, ...]] | None = None
    results: tuple[tuple[str, tuple[str, ...]], ...] = ()
    shape: tuple[int, bytes] = (0, b"")
    place: tuple[int, int] = (0, 0)
    verdict: tuple[Finding, str] | None = None


class Examiner:
    """Looks at rows one by one, for one model and the questions of one run's benchmarks."""

    def __init__(self, proof: "Proof | None", questions: AskedQuestions) -> None:
        """Take the proof of a model's template.

        Without one, what rows become in a template is not looked at, and they are not made ready to be written.
        """
        self._proof, self._questions = proof, questions

    def look(self, row: Example | Preference | Rejected, source: int) -> tuple[Facts, str]:
        """Return the row's facts, and the row as a line of JSON; without a template it holds the messages alone."""
        if isinstance(row, Rejected):
            # The id tells the place that a reason begins with: a row's, or, without its "#3", an answer's.
            reason = row.reason.removeprefix(f"{row.id}: ").removeprefix(f"{row.id.rsplit('#', 1)[0]}: ")
            return Facts(row.id, source, "unread", problems=[("broken", reason)]), _any_json(row.row)
        kind: Kind = "example" if isinstance(row, Example) else "preference"
        facts = Facts(row.id, source, kind, row.parent, row.behavior)
        try:
            try:
                line = to_json(training_row(row)) if self._proof else _messages_text(row)
            except (NotFiniteError, ValueError):
                # Sources refuse such numbers; one of the user's own may give them.
                facts.problems.append(("broken", "holds a number that is not finite"))
                return facts, _any_json(plain(row))
            problem = unsound(line, lambda: plain(row))
            if problem := problem or ("" if self._proof else next(filter(None, map(_unsound_tool, row.tools)), "")):
                facts.problems.append(("broken", problem))
                return facts, _any_json(training_row(row))
            self._look(row, facts)
        except RecursionError:
            facts.problems.append(("broken", "holds values nested too deeply"))
            return facts, "null"
        # A reason must stay one line of the report, whatever words of the row are in it.
        facts.problems = [(finding, " ".join(reason.split())) for finding, reason in facts.problems]
        return facts, line

    def _look(self, row: Example | Preference, facts: Facts) -> None:
        prompt, answers = row.prompt, row.answers
        chosen = answers[0]
        facts.has_thought = have_thoughts(answers)
        facts.has_call = any(answer.tool_calls for answer in answers)
        wrong = [(call.name, problem) for call in chosen.tool_calls for problem in call_problems(call, row.tools)]
        facts.called = tuple(call.name for call in chosen.tool_calls)
        facts.faults = tuple((problem.kind, name, problem.argument) for name, problem in wrong)
        facts.problems.extend(self._problems(row, [problem for _, problem in wrong]))
        if self._proof is not None:
            written = self._proof.row(row)
            if isinstance(written, str):
                facts.problems.append(("template", written))
            else:
                facts.tokens = (written.num_prompt_tokens, *written.num_answer_tokens)
        found, shown = noise(row)
        facts.problems.extend(found)
        facts.results = tuple((each.call.name, keys_of(each.result)) for each in shown) if len(shown) > 1 else ()
        facts.ending = None if chosen.tool_calls else ending(chosen.content)
        said = message_dicts(prompt)
        tools = [_tool_digest(tool) for tool in row.tools]
        replies = json.dumps(message_dicts(answers), allow_nan=False)
        whole = "\n".join([json.dumps(said, allow_nan=False), *tools, replies])
        facts.content = hashlib.blake2b(whole.encode(), digest_size=16).digest()
        plain = [(m["role"], words(m["content"]), *m.get("tool_calls", ())) for m in said]
        facts.prompt = digest(json.dumps([plain, sorted(tools)], allow_nan=False))
        facts.question = first_question(prompt)
        facts.minima = signature(words(f"{asked(prompt)} {replies}"))
        facts.tools = tuple(tool.name for tool in row.tools)
        facts.option_rule = _option_rule(row, answers) if isinstance(row, Preference) else None
        if self._proof is None:
            return
        parts = (prompt, *((answer,) for answer in answers)) if isinstance(row, Preference) else ((*prompt, chosen),)
        bits = sum(any(m.tool_calls for m in part) << n for n, part in enumerate(parts)) | (bool(row.tools) << 3)
        facts.shape = bits, digest(repr([_keys(message_dicts(part)) for part in parts]))

    def _problems(self, row: Example | Preference, wrong: Sequence[Problem]) -> list[tuple[Finding, str]]:
        prompt, answers = row.prompt, row.answers
        chosen, problems = answers[0], list[tuple[Finding, str]]()
        if not chosen.tool_calls and not chosen.content.strip():
            problems.append(("broken", "its answer is empty"))
        calls = [call for message in (*prompt, *answers) for call in message.tool_calls]
        if padding := null_padding(calls, row.tools):
            problems.append(("null_padding", padding))
        # A call of a tool that is not offered breaks no schema, and is told by `noise`.
        if told := [str(problem) for problem in wrong if problem.kind != "unknown_tool"]:
            problems.append(("invalid_call", told[0] + (f" (and {len(told) - 1} more)" if told[1:] else "")))
        ids = {row.id, row.parent} - {""}
        if contamination := self._questions.contamination(sorted(ids), asked(prompt)):
            problems.append(("contamination", contamination))
        return problems


_tool_digest = OncePerObject[str](
    lambda tool: hashlib.blake2b(json.dumps(tool_dict(tool), allow_nan=False).encode(), digest_size=16).hexdigest()
)


_unsound_tool = OncePerObject[str](
    lambda tool: unsound(json.dumps(tool_dict(tool), ensure_ascii=False, allow_nan=False), lambda: plain(tool))
)


def _messages_text(row: Example | Preference) -> str:
    both = [message_dicts(row.prompt), message_dicts(row.answers)]
    return json.dumps(both, ensure_ascii=False, allow_nan=False)


def _option_rule(row: Preference, answers: tuple[Message, ...]) -> tuple[bool, bool] | None:
    """Return whether a pair's one call would be made by the rule that only reads the call, and whether it is right.

    Return None for a pair that does not have one call.
    """
    calling = [len(answer.tool_calls) == 1 for answer in answers]
    if sum(calling) != 1 or any(len(answer.tool_calls) > 1 for answer in answers):
        return None
    call = answers[calling.index(True)]
    sample = Sample(row.id, "", row.prompt, row.tools, row.behavior, choices={"tool_call": call})
    return read_options(sample) == "tool_call", calling[0]


def _keys(value: Any) -> Any:
    """Return a value's keys, all the way down."""
    if isinstance(value, dict):
        return {key: _keys(inner) for key, inner in sorted(value.items())}
    return [_keys(inner) for inner in value] if isinstance(value, list) else 0


def _any_json(value: Any) -> str:
    """Return whatever a source read, as JSON; its text where JSON has no such number, null where it is too deep."""
    try:
        return json.dumps(value, ensure_ascii=False, default=repr, allow_nan=False)
    except ValueError:
        return json.dumps(repr(value), ensure_ascii=False, allow_nan=False)
    except RecursionError:
        return "null"
