"""Look, in a job, for what its stage or a later one needs: `look.py` beside `needs.json`, without any package."""

import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path


def missing(needs: Mapping[str, Mapping[str, str]]) -> str | None:
    """Name the first thing that is not there, with the run file's key that asks for it; None when all is there.

    Args:
        needs: `packages` and `modules` by the names that Python imports, `variables` of the environment; each with the
            key. Modules are imported: they are the user's own, and may import what nobody thought of.
    """
    for name, key in needs.get("packages", {}).items():
        if importlib.util.find_spec(name) is None:
            return f"'{key}' needs the package '{name}', which this image does not have"
    for name, key in needs.get("variables", {}).items():
        if not os.environ.get(name, "").strip():
            return f"'{key}' names the variable {name}, which the secret does not hold"
    for name, key in needs.get("modules", {}).items():
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - whatever a module of the user's own raises is told in one line
            return f"'{key}': {name} cannot be imported: {type(error).__name__}: {' '.join(str(error).split())}"
    return None


if __name__ == "__main__":
    sys.exit(missing(json.loads(Path("needs.json").read_text(encoding="utf-8"))))
