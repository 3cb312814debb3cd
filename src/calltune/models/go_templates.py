"""Go's own `text/template`, as Ollama uses it, through the package `py-go-template`.

It runs in a process of its own: Go's runtime ends the process at a template that it cannot read, and takes signals.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from calltune.errors import ModelError


def can_render() -> bool:
    """Whether the package is installed."""
    return find_spec("go_template") is not None


def render_all(template: str, values: Sequence[dict[str, Any]]) -> list[str]:
    """A Go template's text for each of several sets of values.

    Raises:
        ModelError: Go cannot read the template, or fails at it.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "template").write_text(template, encoding="utf-8")
        (place / "values").write_text(json.dumps(list(values), allow_nan=False), encoding="utf-8")
        words = [sys.executable, "-m", __name__, str(place / "template"), str(place / "values")]
        done = subprocess.run(words, capture_output=True, check=False)
    if done.returncode or not done.stdout.startswith(b"["):
        said = (done.stdout + done.stderr).decode(errors="replace").strip().splitlines()
        raise ModelError(f"Go does not read the template: {said[-1][:300] if said else 'it ended without a word'}")
    return json.loads(done.stdout)


def main(template: str, values: str) -> None:
    """Render in this process, and print the texts as JSON."""
    from go_template import render

    sets = json.loads(Path(values).read_text(encoding="utf-8"))
    print(json.dumps([render(Path(template), each).decode() for each in sets], allow_nan=False))


if __name__ == "__main__":
    main(*sys.argv[1:])
