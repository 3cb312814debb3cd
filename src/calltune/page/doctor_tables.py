"""What the page tells of `data/doctor.json`: rows by source, behaviours by stage, what was found, and in what words."""

from collections.abc import Mapping
from typing import Any


def doctor_tables(doctor: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Rows of cells for each table, from the file as `prepare` wrote it; None when there is none."""
    if doctor is None:
        return None
    behaviors = doctor["behaviors"]
    kinds = list(
        dict.fromkeys(kind for sources in behaviors.values() for counts in sources.values() for kind in counts)
    )
    return {
        "rows": [
            (source, counts["read"], counts["kept"], counts["repeated"], _listed(counts["rejected"]))
            for source, counts in doctor["rows"].items()
        ],
        "kinds": kinds,
        "behaviors": [
            (f"{source} ({stage})", [counts.get(kind, 0) for kind in kinds])
            for stage, sources in behaviors.items()
            for source, counts in sources.items()
        ],
        "findings": [
            (_words(name), "rejected" if found["rejected"] else "kept", len(found["rows"]), _example(found["rows"]))
            for name, found in doctor["findings"].items()
        ],
        "changes": [(_words(name), number) for name, number in doctor["changes"].items()],
        # A file of an older version holds none.
        "notes": doctor.get("notes", []),
    }


def _words(name: str) -> str:
    return name.replace("_", " ")


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{_words(name)} {number:,}" for name, number in counts.items())


def _example(rows: list[Mapping[str, Any]]) -> str:
    return f"{rows[0]['id']}: {rows[0]['reason']}" if rows else ""
