"""Watches what a model writes while a stage trains it: a few questions, a few times, and what comes of a collapse.

A preference loss may fall while the model stops calling tools, and no number of the trainer's says so. So the model is
asked at the stage's start, some times on the way, and at its end. The start is asked within the first step, when its
time is known and no weight has moved yet. One process asks and the others wait; all of them then decide alike.
"""

import math
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainingArguments

from calltune.config.guard import GuardConfig
from calltune.errors import GuardError, RunFolderError
from calltune.files.guard_file import GUARD
from calltune.files.hashes import value_sha256
from calltune.files.json_lines import read_json, write_json
from calltune.files.tracking import Tracker
from calltune.models.backends.live import LiveModel
from calltune.runtime.processes import processes
from calltune.runtime.terminal import say
from calltune.training.checkpoints import damage
from calltune.training.guard_checks import Check, check_from, collapse, measures, rank, shown, told
from calltune.training.guard_questions import GuardQuestion
from calltune.training.guard_time import GuardTime
from calltune.types import BEHAVIORS

_NUM_CHECKS = 5  # after the start, by default
_MORE_TOKENS = 8  # than the longest known answer has


class Guard(TrainerCallback):
    """Asks the model of one trainer, keeps what it found in each checkpoint, and ends training at a collapse."""

    def __init__(
        self,
        settings: GuardConfig,
        model: LiveModel,
        chat: Any,
        questions: Sequence[GuardQuestion],
        folder: Path,
        tracker: Tracker,
        begun_from: Path | None,
        begun: float,
    ) -> None:
        """Ask nothing yet; the arguments are those of `make_guard`."""
        self._settings, self._model, self._chat, self._questions = settings, model, chat, questions
        self._folder, self._stage, self._tracker = folder, folder.name, tracker
        longest = max(question.num_answer_tokens for question in questions)
        self._room = min(settings.max_new_tokens, longest + _MORE_TOKENS)
        # A check of an older version does not know which answers were endless, so it is none of these questions'.
        self._asked_sha256 = value_sha256([[q.sample.id, q.behavior] for q in questions] + [self._room, "endless"])
        self._checks: list[Check] = []
        self._skipped: list[int] = []
        self._places: list[int] = []
        self._time = GuardTime(settings.time_share, begun)
        self._begun_from = begun_from
        if begun_from:
            self._go_on(begun_from / GUARD)

    def _go_on(self, file: Path) -> None:
        """Take what a checkpoint keeps; its seal holds for this file too."""
        kept: Any = read_json(file) if file.is_file() else {}
        if kept.get("asked") == self._asked_sha256:
            self._checks = [check_from(check) for check in kept["checks"]]
            self._skipped = kept["skipped"]
        else:
            say(f"{self._stage}: guard: the stage's start is not known, so its place is taken by the next step")

    @property
    def _fallen(self) -> str:
        """What the last two checks say of a collapse, or the stage's last; an empty text where there is none.

        One alone may be a phase of learning: a model that begins to call writes its first calls malformed.
        """
        later = self._checks[1:]
        is_last = not self._places or bool(later and later[-1].step >= self._places[-1])
        if later and (is_last or (len(later) > 1 and self._fall(later[-2]))):
            return self._fall(later[-1])
        return ""

    def _fall(self, check: Check) -> str:
        return collapse(self._questions, self._checks[0], check, self._settings.most_drop)

    @property
    def best_step(self) -> int | None:
        """The step of the best check, the start and what fell left out; None where there is none."""
        checks = [check for check in self._checks[1:] if not self._fall(check)]
        return max(checks, key=lambda check: rank(self._questions, check)).step if checks else None

    @property
    def protected_step(self) -> int | None:
        """The step whose checkpoint may become the stage's model, and must not be removed."""
        return self.best_step if self._settings.keeps_best else None

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Lay down when the model is asked, and say what."""
        every = self._settings.every_steps or max(1, math.ceil(state.max_steps / _NUM_CHECKS))
        self._places = sorted({*range(every, state.max_steps, every), state.max_steps})
        self._time.begin(state.global_step, state.max_steps, len(self._places))
        counts = Counter(question.behavior for question in self._questions)
        num_held_out = sum(question.is_held_out for question in self._questions)
        kinds = ", ".join(f"{counts[behavior]} {behavior}" for behavior in BEHAVIORS if behavior in counts)
        say(
            f"{self._stage}: guard: {len(self._questions)} questions ({kinds}), {num_held_out} held out and "
            f"{len(self._questions) - num_held_out} trained on, are asked at the start and every {every:,} steps"
        )
        for check in self._checks:
            # What a killed process had not sent yet.
            self._track(check)

    def on_step_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock of the first step."""
        self._time.step_begins()

    def on_pre_optimizer_step(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask before the first step moves a weight: that is the stage's start."""
        if not self._checks:
            self._add(Check(**processes().first(lambda: self._start(state.global_step).as_json())))

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask where a check is due; a collapse ends training."""
        if not self._fallen:
            if state.global_step not in self._places or self._checks[-1].step >= state.global_step:
                return
            found = processes().first(lambda: self._later(state.global_step))
            if found is None:
                return
            self._add(Check(**found))
        if fallen := self._fallen:
            self._end(fallen, control, args.learning_rate)
        elif self.protected_step == state.global_step:
            control.should_save = True

    def _end(self, fallen: str, control: Any, rate: float) -> None:
        """End training, with an error or with the best check before."""
        what = f"{self._stage}: step {self._checks[-1].step}: {fallen} since step {self._checks[0].step}"
        hint = f"lower learning_rate ({rate:.3g} here)"
        if self._settings.on_collapse == "stop" or self.best_step is None:
            why = "" if self._settings.on_collapse == "stop" else ", and there is no check between them to go on with"
            if processes().rank == 0:
                write_json(self._folder / GUARD, self.found())
            raise GuardError(f"{what}{why}; training is stopped: {hint}")
        say(f"warning: {what}; training ends here, and the stage's model is that of step {self.best_step}; {hint}")
        control.should_training_stop, control.should_save = True, False

    def on_epoch_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """What a collapsed model says of validation rows is of no use."""
        if self._fallen:
            control.should_evaluate = False

    def on_save(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Write what is known beside what transformers has written, before the checkpoint is sealed."""
        if processes().rank == 0:
            checks = [check.as_json() for check in self._checks]
            kept = {"asked": self._asked_sha256, "checks": checks, "skipped": self._skipped}
            write_json(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / GUARD, kept)

    def _start(self, step: int) -> Check:
        """The first check, on one process: as many questions as there is time for in every check."""
        self._time.first_step_ends()
        answers: list[tuple[Any, bool, bool]] = []
        size = len({question.behavior for question in self._questions})
        while size:
            begun = time.perf_counter()
            answers += self._answers(len(answers), len(answers) + size)
            size = self._time.next_portion(
                time.perf_counter() - begun, size, len(answers), len(self._questions) - len(answers)
            )
        if len(answers) < len(self._questions):
            say(
                f"{self._stage}: guard: only {len(answers)} of them are asked, as more would take longer than "
                f"{self._settings.time_share:.0%} of the stage (guard.time_share)"
            )
        return Check(step, *_columns(answers), self._time.of_check)

    def _later(self, step: int) -> dict[str, Any] | None:
        """A later check, on one process; None where there is no time for it, though always at the last step."""
        if step < self._places[-1] and not self._time.allows(step, [check.seconds for check in self._checks]):
            self._skipped.append(step)
            return None
        begun = time.perf_counter()
        answers = self._answers(0, len(self._checks[0].shown))
        return Check(step, *_columns(answers), self._time.took(time.perf_counter() - begun)).as_json()

    def _answers(self, start: int, stop: int) -> list[tuple[Any, bool, bool]]:
        asked = self._questions[start:stop]
        completions = self._model.answer([question.sample for question in asked], self._room)
        return [
            (*shown(self._chat, each, found), found.status == "truncated" and each.num_answer_tokens <= self._room)
            for each, found in zip(asked, completions, strict=True)
        ]

    def _add(self, check: Check) -> None:
        self._checks.append(check)
        say(f"{self._stage}: guard: step {check.step}: {told(measures(self._questions, check))}")
        self._track(check)
        if (fall := self._fall(check)) and not self._fallen:
            say(f"warning: {self._stage}: guard: {fall}; the stage ends if the next check says so, too")

    def _track(self, check: Check) -> None:
        found = measures(self._questions, check)
        self._tracker.metrics({f"guard/{name}": value for name, value in found.items()}, step=check.step)

    def checkpoint(self, checkpoints: Path) -> Path | None:
        """The checkpoint that the stage's model is made of, where that is the best check's.

        Raises:
            RunFolderError: it is not whole.
        """
        step = self.best_step
        if step is None or not (self._settings.keep == "best" or self._fallen):
            return None
        if problem := damage(checkpoints / f"checkpoint-{step}"):
            raise RunFolderError(
                f"{checkpoints / f'checkpoint-{step}'}: the guard's best cannot be used, {problem}; "
                f"remove {self._folder} and run the stage again"
            )
        return checkpoints / f"checkpoint-{step}"

    def found(self) -> dict[str, Any]:
        """What a stage's folder keeps: questions, and each check with what every question was given."""
        return {
            "questions": [
                {"id": q.sample.id, "behavior": q.behavior, "is_held_out": q.is_held_out}
                for q in self._questions[: len(self._checks[0].shown) if self._checks else 0]
            ],
            "checks": [
                {
                    "step": check.step,
                    "metrics": measures(self._questions, check),
                    "shown": check.shown,
                    "are_exact": check.are_exact,
                    "are_endless": check.are_endless,
                    "seconds": round(check.seconds, 3),
                }
                for check in self._checks
            ],
            "collapse": self._fallen,
        }

    def facts(self, kept: Path | None) -> dict[str, Any]:
        """For the manifest; `kept` is the checkpoint that the model was made of, where it is the best check's."""
        num_asked = len(self._checks[0].shown) if self._checks else 0
        return {
            "questions": num_asked,
            "held_out": sum(question.is_held_out for question in self._questions[:num_asked]),
            "checks": len(self._checks),
            "skipped_steps": self._skipped,
            "last": measures(self._questions, self._checks[-1]) if self._checks else {},
            "kept_step": int(kept.name.removeprefix("checkpoint-")) if kept else None,
            "collapse": self._fallen or None,
            "guard_seconds": round(sum(check.seconds for check in self._checks), 1),
        }

    def sentence(self, seconds: float, kept: Path | None) -> str:
        """What the checks took of the stage, with its `seconds` of training, and what became of them."""
        taken = sum(check.seconds for check in self._checks)
        part = taken / max(seconds + self._time.before_training, 1e-9)
        text = f"guard: {len(self._checks)} checks took {taken:.1f} s, {part:.1%} of the stage"
        if self._skipped:
            text += f"; {len(self._skipped)} more were left out, as they would have taken longer than guard.time_share"
        return f"{text}; the model of {kept.name} is kept" if kept else text


def _columns(answers: Sequence[tuple[Any, bool, bool]]) -> tuple[tuple[Any, ...], tuple[bool, ...], tuple[bool, ...]]:
    does, exact, endless = zip(*answers, strict=True)
    return does, exact, endless
