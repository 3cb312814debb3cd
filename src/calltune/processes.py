"""This process among those that one launcher started (`accelerate launch`, `torchrun`): its number, and waiting."""

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Processes:
    """`rank` of `count` processes, `local_rank` on this machine; the one of rank 0 speaks and writes what all share."""

    rank: int
    local_rank: int
    count: int

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.count > 1:
            import torch
            from accelerate import PartialState

            # Without a GPU accelerate must be told to gather processes all the same.
            PartialState(cpu=not torch.cuda.is_available()).wait_for_everyone()


def processes() -> Processes:
    """Read from the environment that a launcher sets; one process when there is none."""
    rank, local_rank, count = (int(os.environ.get(name, "0")) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))
    return Processes(rank, local_rank, max(1, count))
