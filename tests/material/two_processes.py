"""One step of a model with shared prefixes under DistributedDataParallel: `torchrun two_processes.py FOLDER`."""

import sys
from pathlib import Path
from typing import Any

import torch
from shared_batches import dpo_batch, step, trained

from calltune.training.sharing import share_prefixes

torch.distributed.init_process_group("gloo")
rank = torch.distributed.get_rank()
inner: Any = trained("qwen3")
sharing = share_prefixes(inner)
half = {name: values[rank::2] for name, values in dpo_batch().items()}
gradient = step(torch.nn.parallel.DistributedDataParallel(inner), half)[2]
found = {"gradient": gradient, "computed": sharing.num_computed_tokens, "padded": sharing.num_padded_tokens}
torch.save(found, Path(sys.argv[1]) / f"{rank}.pt")
torch.distributed.destroy_process_group()
