"""`calltune try`: what the run's checkpoints answer, side by side, to a question of yours or of the run's own.

Answers are greedy, in the run's own template and mode of thinking; below them stands what `calltune decide` says, where
it was calibrated. Nothing is written.
"""

import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from calltune.calling.words import message_words
from calltune.config.run_file import Config
from calltune.deciding.making import usable_decision
from calltune.errors import ConfigError, ModelError
from calltune.evaluation.benchmarks import is_free, when2call_generation
from calltune.evaluation.benchmarks.when2call_rows import Question
from calltune.evaluation.decisions import Decided, Decision, deciding
from calltune.evaluation.jobs import open_backend, open_benchmarks
from calltune.models.backends import OpenedBackend
from calltune.report.page.inert import visible
from calltune.report.page.trying import try_page
from calltune.runtime.columns import Columns
from calltune.runtime.terminal import say
from calltune.runtime.told import program_listens, tell_program
from calltune.types import Completion, Message, Sample, Tool, plain
from calltune.verbs.evaluate import existing_checkpoints
from calltune.verbs.try_questions import Offer, held_out_questions, judged, names_of, offered

_USUAL_ROOM = 256
_WIDTH = 110
_MOST_SHOWN = 600
"""Characters of one message before an answer, in a transcript."""


@dataclass(slots=True)
class Asked:
    """One checkpoint, loaded, with its own conversation so far."""

    name: str
    backend: OpenedBackend
    decision: Decision | None = None
    """How it decides, where 'calltune decide' has calibrated that."""
    messages: list[Message] = field(default_factory=list)


def run(
    config: Config,
    questions: Sequence[str] = (),
    tools_file: str | None = None,
    first: int = 0,
    port: int | None = None,
) -> None:
    """Ask one question, or each that is typed in, or the first of the run's own.

    Args:
        questions: one or none; without one they are read from the terminal, over several turns.
        tools_file: a JSON file of tools, in place of the run's own.
        first: how many of the run's test questions to ask, each with its own tools.
        port: where to serve the checkpoints instead of asking them; 0 takes any port that is free.

    Raises:
        CalltuneError: the words contradict each other, or a file or a model cannot be read.
    """
    if len(questions) > 1:
        raise ConfigError(f"try takes one question, not {len(questions)}; put it in quotes")
    if first < 0 or (first and (questions or tools_file)):
        raise ConfigError("--first N asks the run's own questions, each with its own tools: N is 1 or more")
    if port is not None and (first or questions):
        raise ConfigError("--serve waits for questions; it takes none, and no --first")
    if program_listens() and not (first or questions):
        raise ConfigError("--json prints one object, so it goes with a question, or with --first N")
    if first:
        _transcript(config, held_out_questions(config, first))
        return
    offer = offered(config, tools_file)
    say(f"tools: {visible(names_of(offer.tools))} ({offer.origin})")
    backends = {name: load() for name, load in checkpoints(config)}
    if port is not None:
        _serve(config, backends, offer, port)
        return
    asked = [Asked(name, backend, usable_decision(config, name)) for name, backend in backends.items()]
    turn = Turn(config, offer.tools)
    if questions:
        turn.ask(asked, questions[0])
        return
    say("a line is a question; one that begins with = is the result of the last calls; an empty one ends")
    with suppress(EOFError):
        while line := input("> ").strip():
            turn.ask(asked, line)


def checkpoints(config: Config) -> Iterator[tuple[str, Callable[[], OpenedBackend]]]:
    """Yield the name of each checkpoint that is there, and what loads it."""
    load, _ = open_backend(config)
    for name in existing_checkpoints(config):
        yield name, lambda name=name: load(config.checkpoint_folder(name))


def thinking_of(config: Config) -> dict[str, Any]:
    """What `answer` is told of thinking: nothing where the run says nothing of it."""
    return {} if config.chat.thinking == "off" else {"thinking": True}


def room_of(config: Config) -> int:
    """How many tokens an answer may have: as many as in the run's first benchmark of free answers."""
    rooms = [settings.max_new_tokens for _, module, settings in open_benchmarks(config) if is_free(module)]
    return (rooms or [_USUAL_ROOM])[0] + (config.chat.max_thought_tokens if config.chat.thinking != "off" else 0)


def completion_words(completion: Completion) -> str:
    """What a checkpoint answered, as a person reads it; what is no whole answer is told as that."""
    if completion.message is not None:
        return visible(message_words(completion.message))
    return f"[{completion.status}: {visible(completion.reason)}] {visible(completion.text)}".rstrip()


class Turn:
    """One turn of every checkpoint's conversation."""

    def __init__(self, config: Config, tools: tuple[Tool, ...]) -> None:
        self._tools, self._room, self._thinking = tools, room_of(config), thinking_of(config)

    def ask(self, asked: Sequence[Asked], line: str) -> None:
        """Answer a line in each of the conversations, which go on from it; one that cannot is told why, and stays.

        A line that begins with = is the result of each call in a checkpoint's last answer, and asks no other one.
        """
        from calltune.models.backends.streaming import speak

        is_result = line.startswith("=")
        answering = [each for each in asked if not is_result or (each.messages and each.messages[-1].tool_calls)]
        if not answering:
            say("no checkpoint has made a call, so there is nothing for a result to answer")
        answers: dict[str, dict[str, Any]] = {}
        with Columns([each.name for each in answering]) as columns:
            for number, each in enumerate(answering):
                calls = each.messages[-1].tool_calls if is_result else ()
                added = [Message("tool", line[1:].strip()) for _ in calls] or [Message("user", line)]
                sample = Sample("try", "try", (*each.messages, *added), self._tools, None)

                def hear(piece: str, number: int = number) -> None:
                    columns.add(number, visible(piece))

                try:
                    completion = speak(each.backend, sample, self._room, hear, **self._thinking)
                except ModelError as error:
                    columns.finish(number, f"[not asked: {visible(str(error))}]")
                    answers[each.name] = {"error": str(error)}
                    continue
                decided = _decided(each, sample)
                columns.finish(number, completion_words(completion) + (f"\n[{decided.words()}]" if decided else ""))
                answers[each.name] = plain(completion) | ({"decision": plain(decided)} if decided else {})
                # What was said stands in the conversation as it was said, also where no call can be read in it.
                answer = completion.message or Message("assistant", completion.text)
                each.messages += [*added, answer]
        tell_program(question=line, answers=answers)


def _decided(asked: Asked, sample: Sample) -> Decided | None:
    """What it would have done, as probabilities; None where that is not calibrated."""
    return asked.decision and asked.decision.decide(deciding(asked.backend), [sample])[0]


def _serve(config: Config, backends: dict[str, OpenedBackend], offer: Offer, port: int) -> None:
    """Serve the checkpoints on 127.0.0.1 until the program is told to end."""
    from calltune.models.serve.server import ADDRESS, ChatServer

    page, policy = try_page(config.name, list(backends), offer.tools, offer.origin)
    mode = thinking_of(config)
    with ChatServer(backends, port, room=room_of(config), page=page.encode(), policy=policy, **mode) as server:
        place = f"http://{ADDRESS}:{server.server_port}"
        say(f"page: {place}/")
        say(f"OpenAI's interface: {place}/v1, models {', '.join(backends)}; Ctrl-C ends it")
        sys.stdout.flush()
        server.serve_forever(poll_interval=0.2)


def _transcript(config: Config, questions: Sequence[Question]) -> None:
    """Print questions with the right answers and what each checkpoint says; one model is in memory at a time."""
    samples = [when2call_generation.sample_of(question) for question in questions]
    room, told = room_of(config), []
    for name, load in checkpoints(config):
        told.append((name, load().answer(samples, room, **thinking_of(config))))
    tell_program(
        questions=[
            {
                **{"messages": [plain(m) for m in question.messages], "right": question.correct},
                "answers": {name: plain(completions[number]) for name, completions in told},
            }
            for number, question in enumerate(questions)
        ]
    )
    for number, (question, sample) in enumerate(zip(questions, samples, strict=True)):
        say(f"{number + 1}. {question.correct}")
        before = questions[number - 1].messages if number else ()
        for message in question.messages:
            if message.role == "system" and message in before:
                continue
            _entry(message.role, textwrap.shorten(visible(message_words(message)), _MOST_SHOWN, placeholder=" ..."))
        _entry("tools", visible(names_of(question.tools)))
        _entry("right", visible(message_words(question.answers[question.correct])))
        for name, completions in told:
            completion = completions[number]
            verdict = f"[{judged(sample, completion)}] " if completion.status == "ok" else ""
            _entry(name, verdict + completion_words(completion))
        say("")


def _entry(name: str, text: str) -> None:
    """Print a text behind its name, wrapped below itself."""
    beginning = f"   {name:<10} "
    lines = [
        part for line in text.splitlines() or [""] for part in textwrap.wrap(line, _WIDTH - len(beginning)) or [""]
    ]
    for number, line in enumerate(lines):
        say((beginning if number == 0 else " " * len(beginning)) + line)
