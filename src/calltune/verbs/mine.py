"""`calltune mine`: preference pairs from the mistakes that the model makes on its own training questions.

Answers are drawn, each is verified, and a right one is preferred to a wrong one of the model's own; `dpo` then trains
on what this model does wrong, not on what another one might. `docs/mining.md` says what comes of it.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from calltune.calling.chat import Chat
from calltune.config.run_file import Config
from calltune.config.stages import of_round
from calltune.config.training import MineConfig
from calltune.data.rows import read_examples, read_preferences
from calltune.errors import ConfigError, DataError
from calltune.evaluation.jobs import open_backend
from calltune.evaluation.records import can_be_kept, mend
from calltune.evaluation.room import Known, cut_off
from calltune.files.hashes import file_sha256
from calltune.files.manifest import (
    begin,
    claim_run_folder,
    finish,
    is_complete,
    model_sha256,
    read_manifest,
    require_sealed,
    template_sha256,
)
from calltune.files.tracking import track
from calltune.mining.answers import ANSWERS, answers_from, draw_answers, gather_answers, read_answers
from calltune.mining.asking import Asked, choose_asked
from calltune.mining.making import write_pairs
from calltune.models.load import load_tokenizer
from calltune.runtime.processes import processes
from calltune.runtime.terminal import say

_PAIRING = frozenset({"num_pairs", "given_share", "chosen", "even_calls"})
_DRAWING = frozenset(MineConfig.model_fields) - _PAIRING - {"rounds"}


@dataclass(frozen=True, slots=True)
class _Round:
    """One round: which model is asked, and where its answers and what is made of them are written."""

    config: Config
    settings: MineConfig
    number: int
    run_folder: Path

    @property
    def name(self) -> str:
        return of_round("mine", self.number)

    @property
    def seed(self) -> int:
        """Another one in each round, so that `num_questions` asks others."""
        return self.config.seed + self.number - 1

    @property
    def thinks(self) -> bool:
        """Whether the model is asked to think. With thinking both ways its mistakes with thinking off are mended."""
        return self.config.chat.thinking == "on"

    @property
    def model(self) -> str:
        return self.config.checkpoint_folder(self.config.trained_from(of_round("dpo", self.number)))

    @property
    def data(self) -> Path:
        return self.run_folder / "data"

    @property
    def answers(self) -> Path:
        return self.run_folder / of_round("answers", self.number)

    @property
    def pairs(self) -> Path:
        return self.run_folder / of_round("mined", self.number)


def run(config: Config, round_number: int = 1) -> Path:
    """Draw answers from the model that `dpo` is going to train, and make pairs of them.

    Writes `answers/answers.jsonl`, and `mined/pairs.jsonl` and `statistics.json`; a later round `answers-2`, `mined-2`.
    Other pairs of the same answers cost no second drawing.

    Returns:
        The `mined` folder. What is complete and unchanged is left as it is, drawing is resumed when interrupted.

    Raises:
        CalltuneError: there is no `[mine]`, the data, the model or the folder is wrong, or no pair could be made.
    """
    settings, ours = config.mine, processes()
    if settings is None:
        raise ConfigError("'mine' needs the table [mine] in the run file; it may be empty")
    this = _Round(config, settings, round_number, ours.first(lambda: claim_run_folder(config)))
    ours.first(lambda: _require_before(this))
    drawing = _drawing_inputs(this)
    drawn, paired = ours.first(lambda: _complete(this, drawing))
    if paired:
        say(f"{this.name}: complete and unchanged, skipped")
        return this.pairs
    asked = _asked(this)
    with track(config, this.name, drawing | _settings(settings, _PAIRING)) as tracker:
        if drawn:
            say(f"{this.name}: the answers are complete and unchanged; they are paired anew")
        else:
            _draw(this, asked, drawing)
        told = ours.first(lambda: _pair(this, asked))
        tracker.metrics({name: value for name, value in told.items() if isinstance(value, int)})
        tracker.metrics({f"num_{error}": number for error, number in told["num_wrong"].items()})
    return this.pairs


def _complete(this: _Round, drawing: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether the answers are drawn, and whether they are paired as the run file says now."""
    drawn = is_complete(this.answers, drawing, ANSWERS)
    return drawn, drawn and is_complete(this.pairs, _pairing_inputs(this), "pairs.jsonl", "statistics.json")


def _require_before(this: _Round) -> None:
    require_sealed(this.data, "train.jsonl", "preferences.jsonl")
    if this.model != this.config.model:
        read_manifest(Path(this.model))


def _settings(settings: MineConfig, names: frozenset[str]) -> dict[str, Any]:
    told = settings.model_dump(mode="json", include=set(names))
    # A key that older versions did not have counts where it is set, so that what they mined stays complete.
    return {name: value for name, value in told.items() if name != "even_calls" or value}


def _drawing_inputs(this: _Round) -> dict[str, Any]:
    _, keys = open_backend(this.config)
    return {
        "model": model_sha256(this.model),
        "train rows": file_sha256(this.data / "train.jsonl"),
        "given pairs": file_sha256(this.data / "preferences.jsonl"),
        "chat template": template_sha256(this.config),
        "settings": _settings(this.settings, _DRAWING),
        "seed": this.seed,
        "backend": {"name": this.config.evaluate.backend, **keys},
        **({"thinking": this.config.chat.max_thought_tokens} if this.thinks else {}),
    }


def _asked(this: _Round) -> Asked:
    examples, given = read_examples(this.data / "train.jsonl"), read_preferences(this.data / "preferences.jsonl")
    asked = choose_asked(examples, given, this.settings.num_questions, this.seed)
    if not asked.questions:
        raise DataError(f"{this.data}: holds no question whose known answer can be verified")
    return asked


def _draw(this: _Round, asked: Asked, inputs: Mapping[str, Any]) -> None:
    ours, start = processes(), time.monotonic()
    num_all = len(asked.questions) + len(asked.contradicting) + len(asked.problems)
    say(
        f"{this.name}: {len(asked.questions):,} of {num_all:,} questions are asked; {len(asked.contradicting):,} have "
        f"contradicting answers, and of {len(asked.problems):,} the known answer cannot be verified"
    )
    load, _ = open_backend(this.config)
    # Before anything is written: a model that cannot be asked leaves nothing behind.
    backend = load(this.model)
    ours.first(lambda: _begin(this, asked, inputs))
    if (chat := getattr(backend, "chat", None)) and ours.rank == 0:
        known = [Known(q.id, q.sample.messages, q.sample.tools, q.gold) for q in asked.questions]
        if line := cut_off(chat, known, this.settings.max_new_tokens, "mine.max_new_tokens"):
            say(f"warning: {this.name}: {line}")
    if this.config.chat.thinking != "off":
        say(f"{this.name}: the model is asked with thinking {'on' if this.thinks else 'off'}")
    room = this.settings.max_new_tokens + (this.config.chat.max_thought_tokens if this.thinks else 0)
    draw_answers(backend, asked.questions, this.settings, this.seed, this.answers, ours, room, this.thinks)
    ours.wait()
    ours.first(lambda: gather_answers(asked.questions, this.answers))
    if ours.rank == 0:
        finish(this.answers, inputs, seconds=round(time.monotonic() - start, 1))
    ours.wait()


def _begin(this: _Round, asked: Asked, inputs: Mapping[str, Any]) -> None:
    file, ids = this.answers / ANSWERS, {question.id for question in asked.questions}
    if moved := begin(this.answers, inputs, keep_files=can_be_kept(file, ids, "id")):
        say(moved)
    mend(file, ids, partial(answers_from, num_answers=this.settings.num_answers), "id")


def _pairing_inputs(this: _Round) -> dict[str, Any]:
    return {
        "answers": file_sha256(this.answers / ANSWERS),
        "given pairs": file_sha256(this.data / "preferences.jsonl"),
        "settings": _settings(this.settings, _PAIRING),
        "seed": this.seed,
    }


def _pair(this: _Round, asked: Asked) -> dict[str, Any]:
    start, inputs = time.monotonic(), _pairing_inputs(this)
    if moved := begin(this.pairs, inputs):
        say(moved)
    chat = Chat(load_tokenizer(this.model, this.config.chat_template), this.model).in_mode(this.thinks)
    answers = read_answers(this.answers)
    given = read_preferences(this.data / "preferences.jsonl")
    told = write_pairs(
        this.pairs, chat, asked, [answers[q.id] for q in asked.questions], given, this.settings, this.seed
    )
    say(
        f"{this.name}: {told['num_pairs']:,} pairs, {told['num_mined']:,} mined and {told['num_given']:,} given, "
        f"of {told['num_wanted']:,} wanted"
    )
    finish(this.pairs, inputs, seconds=round(time.monotonic() - start, 1))
    return told
