"""Makes examples/tiny-qwen3: the tokenizer, the warmed-up model and its card.

    python scripts/make_tiny_qwen3.py

About 70 minutes on three processor threads with AVX-512 or AMX bfloat16. Stop it and start it again: it goes on from
the newest checkpoint in --work.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

# Before torch: idle threads must sleep, and freed memory is kept, for page faults cost a third of every step.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000", "MALLOC_TOP_PAD_": "200000000"}

DESTINATION = Path(__file__).parents[1] / "examples" / "tiny-qwen3"


def main() -> None:
    """Parse the command line and make the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=DESTINATION, help="the folder to write")
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()) / "tiny-qwen3-warm-up", help="where checkpoints go"
    )
    parser.add_argument("--steps", type=int, help="optimizer steps, for a shorter try (default: those of the card)")
    chosen = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in KEEP_MEMORY.items()):
        # The allocator reads its settings when a program starts, so the program starts once more.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEEP_MEMORY)

    from tiny_qwen3.making import make

    make(chosen.to, chosen.work, chosen.steps)


if __name__ == "__main__":
    main()
