"""The processes that one launcher started (`accelerate launch`, `torchrun`): which one this is, and how they agree."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from calltune.errors import CalltuneError

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Processes:
    """Which of `count` processes this is: `rank` among all of them, `local_rank` among those on this machine.

    The process of rank 0 prints, and writes what all share.
    """

    rank: int
    local_rank: int
    count: int

    def wait(self) -> None:
        """Wait until every process has reached this call."""
        if self.count > 1:
            _state().wait_for_everyone()

    def first(self, action: Callable[[], Result]) -> Result:
        """Run `action` on the first process alone, and return its result on every process.

        Raises:
            CalltuneError: `action` raised it. It is raised on every process, so that none waits for one that has left.
        """
        if self.count == 1:
            return action()
        from accelerate.utils import broadcast_object_list

        _state()
        outcome: list[Any] = [None, None]
        if self.rank == 0:
            try:
                outcome[0] = action()
            except CalltuneError as error:
                outcome[1] = error
        broadcast_object_list(outcome)
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]

    def any(self, flag: bool) -> bool:
        """Return whether `flag` holds on at least one process. Every process must ask."""
        if self.count == 1:
            return flag
        import torch

        largest = torch.tensor(int(flag), device=_state().device)
        torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX)
        return bool(largest.item())


def processes() -> Processes:
    """Read this process's place from the environment that a launcher sets. Without one there is one process."""
    rank, local_rank, count = (int(os.environ.get(name, "0")) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))
    return Processes(rank, local_rank, max(1, count))


def _state() -> Any:
    import torch
    from accelerate import PartialState

    # On a machine without a GPU, accelerate connects the processes only when it is told to use the CPU.
    return PartialState(cpu=not torch.cuda.is_available())
