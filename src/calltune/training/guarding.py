"""Makes a stage's guard of the stage's rows and its trainer, or says why there is none."""

from pathlib import Path
from typing import Any

from peft import PeftModel

from calltune.files.tracking import Tracker
from calltune.models.backends.live import LiveModel
from calltune.runtime.processes import processes
from calltune.runtime.terminal import say
from calltune.training.arguments import is_spread
from calltune.training.guard import Guard
from calltune.training.guard_questions import guard_questions
from calltune.training.ready import Ready

_TOKENS_PER_BATCH = 8192


def make_guard(
    ready: Ready, trainer: Any, folder: Path, tracker: Tracker, begun_from: Path | None, *, shares: bool, begun: float
) -> Guard | None:
    """The guard of a stage, or None with a line that says why there is none.

    Args:
        folder: the stage's.
        begun_from: the checkpoint that the stage goes on from.
        shares: whether the trainer's model computes common beginnings once.
        begun: when the stage began, by `time.perf_counter`.
    """
    # Thoughts would take more tokens than there is time for.
    settings, stage, chat = ready.settings.guard, folder.name, ready.chat.in_mode(False)
    if not settings.enabled:
        return None
    if is_spread(trainer.args):
        say(f"{stage}: no guard: the model is spread over processes, and none of them can answer alone")
        return None
    if chat.call_format is None:
        say(f"{stage}: no guard: the way this model's template writes tool calls is not known to calltune")
        return None
    questions = processes().first(
        lambda: guard_questions(
            folder.parent / "data", chat, settings.num_questions, ready.rows.max_length, settings.max_new_tokens
        )
    )
    if not questions:
        say(f"{stage}: no guard: no row of the data can be asked within {settings.max_new_tokens} new tokens")
        return None
    inner = trainer.model.get_base_model() if isinstance(trainer.model, PeftModel) else trainer.model
    model = LiveModel(
        inner,
        chat,
        ready.settings.tokens_per_batch or _TOKENS_PER_BATCH,
        shares=shares,
        precision=trainer.accelerator.autocast,
    )
    return Guard(settings, model, chat, questions, folder, tracker, begun_from, begun)
