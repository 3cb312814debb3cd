"""`calltune mine`: preference pairs from the mistakes that the SFT model makes on its own training questions.

Answers are drawn, each is verified, and a right one is preferred to a wrong one of the model's own; `dpo` then trains
on what this model does wrong, not on what another one might. `docs/mining.md` says what comes of it.
"""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calltune.config import Config
from calltune.derive.randomness import unit_interval
from calltune.errors import ConfigError, DataError
from calltune.evaluate import open_backend
from calltune.manifest import (
    begin,
    claim_run_folder,
    file_sha256,
    finish,
    is_complete,
    model_sha256,
    read_json,
    template_sha256,
)
from calltune.mine_settings import MineSettings
from calltune.mining.answers import draw_answers, gather_answers
from calltune.mining.pairing import Candidate, Judged, balanced, candidates, drop_near_duplicates, preference
from calltune.mining.questions import Question, questions
from calltune.mining.statistics import show_examples, show_statistics, statistics
from calltune.mining.verifying import gold_problem, verify
from calltune.processes import processes
from calltune.rows import read_examples, read_preferences, write_json, write_jsonl
from calltune.terminal import say
from calltune.tracking import track
from calltune.types import Completion, Message, Preference

_NUM_SHOWN = 3


def run(config: Config) -> Path:
    """Write `mined/answers.jsonl`, `pairs.jsonl` and `statistics.json` from the model that `dpo` is going to train.

    Returns:
        The `mined` folder. It is left as it is when complete and unchanged, and resumed when interrupted.

    Raises:
        CalltuneError: there is no `[mine]`, the data, the model or the folder is wrong, or no pair could be made.
    """
    settings, ours = config.mine, processes()
    if settings is None:
        raise ConfigError("'mine' needs the table [mine] in the run file; it may be empty")
    run_folder = ours.first(lambda: claim_run_folder(config))
    data, folder = run_folder / "data", run_folder / "mined"
    model = config.checkpoint_folder("sft" if "sft" in config.stages else "base")
    ours.first(lambda: _require_before(config, data))
    module, options = open_backend(config)
    keys = options["settings"].model_dump(mode="json") if "settings" in options else {}
    inputs = {
        "model": model_sha256(model),
        "train rows": file_sha256(data / "train.jsonl"),
        "given pairs": file_sha256(data / "preferences.jsonl"),
        "chat template": template_sha256(config),
        "settings": settings.model_dump(mode="json"),
        "seed": config.seed,
        "backend": {"name": config.evaluate.backend, **keys},
    }
    if ours.first(lambda: is_complete(folder, inputs)):
        say("mine: complete and unchanged, skipped")
        return folder
    given = read_preferences(data / "preferences.jsonl")
    found, contradicting = questions(read_examples(data / "train.jsonl"), given)
    problems = {question.id: problem for question in found if (problem := gold_problem(question))}
    asked = [question for question in found if question.id not in problems]
    if settings.num_questions:
        asked.sort(key=lambda question: unit_interval(config.seed, "asked", question.id))
        asked = asked[: settings.num_questions]
    if not asked:
        raise DataError(f"{data}: holds no question whose known answer can be verified")
    say(
        f"mine: {len(asked):,} of {len(found) + len(contradicting):,} questions are asked; {len(contradicting):,} have "
        f"contradicting answers, and of {len(problems):,} the known answer cannot be verified"
    )
    start = time.monotonic()
    # Before anything is written: a model that cannot be asked leaves nothing behind.
    backend = module.Backend(model, **options)
    if backend.chat is None or not hasattr(backend, "sample"):
        raise ConfigError(f"the backend '{config.evaluate.backend}' draws no answers; 'mine' needs 'hf' or 'vllm'")
    with track(config, "mine", inputs) as tracker:
        if moved := ours.first(lambda: begin(folder, inputs)):
            say(moved)
        draw_answers(backend, asked, settings, config.seed, folder, ours)
        ours.wait()
        left_out = {"contradicting": contradicting, "not_verified": problems}
        told = ours.first(lambda: _conclude(config, settings, backend.chat, asked, given, left_out, folder))
        tracker.metrics({name: value for name, value in told.items() if isinstance(value, int)})
        tracker.metrics({f"num_{error}": number for error, number in told["num_wrong"].items()})
        if ours.rank == 0:
            sha256 = {"pairs.jsonl": file_sha256(folder / "pairs.jsonl")}
            finish(folder, inputs, sha256=sha256, seconds=round(time.monotonic() - start, 1))
    ours.wait()
    return folder


def _require_before(config: Config, data: Path) -> None:
    read_json(data / "manifest.json")
    if "sft" in config.stages:
        read_json(config.run_folder / "sft" / "manifest.json")


def _conclude(
    config: Config,
    settings: MineSettings,
    chat: Any,
    asked: Sequence[Question],
    given: Sequence[Preference],
    left_out: dict[str, Any],
    folder: Path,
) -> dict[str, Any]:
    answers = gather_answers(asked, folder)
    judged = [[(answer, verify(q, answer)) for answer in own] for q, own in zip(asked, answers, strict=True)]
    dropped = Counter[str]()
    mined = _mined(settings, chat, asked, judged, config.seed, dropped)
    if not mined:
        raise DataError(
            f"{folder}: the model made no mistake that can be learned from; leave [mine] out of the run file"
        )
    wanted = settings.num_pairs or len(given) or len(mined)
    taken = balanced(mined, round(wanted * (1 - settings.given_share)))
    # The share holds though fewer were mined than wanted.
    num_given = round(len(taken) * settings.given_share / (1 - settings.given_share))
    kept = sorted(given, key=lambda pair: unit_interval(config.seed, "given", pair.id))[:num_given]
    pairs = [*(preference(one, number) for number, one in enumerate(taken)), *kept]
    pairs.sort(key=lambda pair: unit_interval(config.seed, "order", pair.id))
    write_jsonl(folder / "pairs.jsonl", pairs)
    told = {
        **statistics(asked, judged, taken),
        "num_given": len(kept),
        "num_pairs": len(pairs),
        "num_not_paired": {**dropped, "beyond num_pairs": len(mined) - len(taken)},
        **left_out,
    }
    write_json(folder / "statistics.json", told)
    show_statistics(told)
    show_examples(taken, _NUM_SHOWN)
    say(f"mine: {len(pairs):,} pairs, {len(taken):,} mined and {len(kept):,} given, of {wanted:,} wanted")
    return told


def _mined(
    settings: MineSettings,
    chat: Any,
    asked: Sequence[Question],
    judged: Sequence[Sequence[Judged]],
    seed: int,
    dropped: Counter[str],
) -> list[Candidate]:
    """All pairs that can be made, in an order that depends on seed and question alone."""

    def written(question: Question, completion: Completion) -> Message | None:
        return _written(chat, question, completion)

    found = [
        one
        for question, own in zip(asked, judged, strict=True)
        for one in candidates(question, own, settings.chosen, written, dropped)
    ]
    found.sort(key=lambda one: unit_interval(seed, "mined", one.question.id, one.error))
    return drop_near_duplicates(found, dropped)


def _written(chat: Any, question: Question, completion: Completion) -> Message | None:
    """The message that the template writes as this answer: the very text of a broken call, the same calls otherwise."""
    broken = completion.message is None
    message = Message("assistant", completion.text) if completion.message is None else completion.message
    text = chat.strip_end(chat.answer(question.sample.messages, question.sample.tools, message))
    if broken:
        return message if text.strip() == completion.text.strip() else None
    return message if chat.parse(text).message == message else None
