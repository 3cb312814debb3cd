"""This process among those that one launcher started (`accelerate launch`, `torchrun`): its number, and agreement."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from calltune.errors import CalltuneError

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Processes:
    """`rank` of `count` processes, `local_rank` on this machine; the one of rank 0 speaks and writes what all share."""

    rank: int
    local_rank: int
    count: int

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.count > 1:
            _state().wait_for_everyone()

    def first(self, action: Callable[[], Result]) -> Result:
        """Do something on the first process alone, and have what it gives on all.

        Raises:
            CalltuneError: what `action` raised, on all of them, so that none waits for one that has left.
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
        """Whether it holds on at least one process; every process must ask."""
        if self.count == 1:
            return flag
        import torch

        found = torch.tensor(int(flag), device=_state().device)
        torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
        return bool(found.item())


def processes() -> Processes:
    """Read from the environment that a launcher sets; one process when there is none."""
    rank, local_rank, count = (int(os.environ.get(name, "0")) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))
    return Processes(rank, local_rank, max(1, count))


def _state() -> Any:
    import torch
    from accelerate import PartialState

    # Without a GPU accelerate must be told to gather processes all the same.
    return PartialState(cpu=not torch.cuda.is_available())
