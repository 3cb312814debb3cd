"""What torch is told about the device that computes, and what of its memory is free."""

import gc

import psutil
import torch


def leave_out_planned_attention() -> None:
    """Let no attention go through cuDNN, which makes a plan for every new shape; it changes nothing on a CPU.

    A plan takes tens of milliseconds or more. Packed rows and padded batches have a new shape nearly every time, so
    that the plans would take longer than the attention. torch puts cuDNN first on the newest GPUs.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)


def free_bytes() -> int:
    """Return the bytes that are free on the device that computes."""
    if not torch.cuda.is_available():
        return psutil.virtual_memory().available
    # The device counts as taken what torch keeps for tensors to come; it is ours to use.
    kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return torch.cuda.mem_get_info()[0] + kept


def give_memory_back() -> None:
    """Free what nobody can reach any more, and hand to the device what torch keeps for tensors to come.

    A trainer and its model refer to each other in circles, which only the garbage collector finds.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
