"""What shared prefixes and passes count, kept with each checkpoint, so that a resumed stage counts all of its steps."""

import json
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainingArguments

from calltune.files.json_lines import write_json
from calltune.runtime.processes import processes
from calltune.runtime.terminal import say
from calltune.training.checkpoints import step_of
from calltune.training.sharing import Sharing

_FILE = "counts.json"
_OF_SHARING = ("num_padded_tokens", "num_row_tokens", "num_computed_tokens", "useful_flops")
_OF_PASSES = ("num_steps", "num_passes", "num_longer", "num_parted")


def bound_as_begun(stage: str, begun_from: Path | None, chosen: int | None) -> int | None:
    """Return the bound of a pass with which a stage began, where it goes on from a checkpoint; else the chosen one.

    Another bound, as free memory is another one today, would add losses and gradients up in another order.
    """
    kept = _kept(begun_from) if begun_from else {}
    bound = kept.get("tokens_per_batch", chosen)
    if bound != chosen:
        say(
            f"{stage}: goes on as it began, {f'in passes of at most {bound:,} tokens' if bound else 'in whole batches'}"
        )
    return bound


def _kept(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint keeps; nothing in one of an older version. Its seal holds for the file, too."""
    file = checkpoint / _FILE
    return json.loads(file.read_bytes()) if file.is_file() else {}


class KeepCounts(TrainerCallback):
    """Write the counts of the first process into each checkpoint, before it is sealed.

    `seconds` of training belong to the counts that a checkpoint brought; `from_step` is where they begin: at 0, but for
    a stage that goes on from a checkpoint without counts.
    """

    def __init__(self, sharing: Sharing, begun_from: Path | None, tokens_per_batch: int | None) -> None:
        self._sharing, self.seconds, self.from_step = sharing, 0.0, 0
        self._tokens_per_batch = tokens_per_batch
        self._begun = time.perf_counter()
        if begun_from is None or processes().rank:
            return
        kept = _kept(begun_from)
        if not kept:
            self.from_step = step_of(begun_from)
            return
        self.seconds, self.from_step = kept["seconds"], kept["from_step"]
        for holder, names in self._held():
            for name in names:
                setattr(holder, name, getattr(holder, name) + kept.get(name, 0))

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self._begun = time.perf_counter()

    def on_save(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the counts beside what transformers has written."""
        if processes().rank:
            return
        counts = {name: getattr(holder, name) for holder, names in self._held() for name in names}
        seconds = self.seconds + time.perf_counter() - self._begun
        file = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / _FILE
        bound = {"tokens_per_batch": self._tokens_per_batch}
        write_json(file, {"from_step": self.from_step, "seconds": seconds, **bound, **counts})

    def _held(self) -> list[tuple[Any, tuple[str, ...]]]:
        passes = self._sharing.passes
        return [(self._sharing, _OF_SHARING), *([(passes, _OF_PASSES)] if passes else [])]
