"""Remove checkpoints that nobody would go on from: `restored.py FOLDER STAGE`, with the standard library alone.

SageMaker puts back all that ever lay in a job's folder of checkpoints, also what was removed from it since. So a job
looks through what came back, and before another attempt is asked for the same is done in S3.
"""

import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

SEAL = "complete.json"


def num_kept(table: Mapping[str, Any]) -> int | None:
    """Return how many checkpoints a stage keeps, by its table; None where an older one may still be the best."""
    return None if table.get("load_best_model_at_end") else table.get("save_total_limit", 2)


def superfluous(sizes: Mapping[str, int], read: Callable[[str], bytes], keep: int | None) -> list[str]:
    """Return the checkpoints that are older than the newest whole ones.

    Args:
        sizes: bytes of each file, by names such as `checkpoint-12/model.safetensors`.
        read: gives a file's content.
        keep: how many whole ones stay; None: all.

    Returns:
        Names such as `checkpoint-4`. What is newer and not whole stays: it may be written just now.
    """
    names = {name.partition("/")[0] for name in sizes}
    steps = sorted((int(name.rpartition("-")[2]), name) for name in names if re.fullmatch(r"checkpoint-\d+", name))
    num_whole = 0
    for number in reversed(range(len(steps))):
        num_whole += _is_whole(steps[number][1], sizes, read)
        if keep and num_whole == keep:
            return [name for _, name in steps[:number]]
    return []


def _is_whole(name: str, sizes: Mapping[str, int], read: Callable[[str], bytes]) -> bool:
    """Say whether all files are there that the seal names, as long as it says; their hashes are checked later."""
    if f"{name}/{SEAL}" not in sizes:
        return False
    try:
        files = json.loads(read(f"{name}/{SEAL}"))
        return all(sizes.get(f"{name}/{file}") == entry["bytes"] for file, entry in files.items())
    except (ValueError, TypeError, KeyError, AttributeError):
        return False


def prune(folder: Path, keep: int | None) -> None:
    """Remove them from a folder, and print a line for each."""
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    for name in superfluous(sizes, lambda file: (folder / file).read_bytes(), keep):
        shutil.rmtree(folder / name)
        print(f"calltune: {name} came back from S3, too; it is removed, as newer ones are whole")


if __name__ == "__main__":
    config = json.loads(Path("config.json").read_text(encoding="utf-8"))
    prune(Path(sys.argv[1]), num_kept(config.get(sys.argv[2], {})))
