"""What a launch that spreads a model over its processes (FSDP2, DeepSpeed ZeRO) needs beside the launcher."""

import os

import torch
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin, TorchDynamoPlugin


def allow_sharding_on_cpu() -> None:
    """Have the next trainer shard its model without a GPU as it does with one; nothing to do otherwise.

    torch's FSDP2 works on a CPU, but accelerate 1.15 turns it on for accelerators alone. The states that it keeps for
    the whole process are made here, before the trainer's `Accelerator` finds them.
    """
    if os.environ.get("ACCELERATE_USE_FSDP") != "true" or torch.cuda.is_available():
        return
    plugin = FullyShardedDataParallelPlugin()
    state = AcceleratorState(cpu=True, dynamo_plugin=TorchDynamoPlugin(), fsdp_plugin=plugin, _from_accelerator=True)
    PartialState().distributed_type = state.distributed_type = DistributedType.FSDP
    state.fsdp_plugin = plugin
