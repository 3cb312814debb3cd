"""The top of the page: the verdict, three tiles, and what one has to know to read them."""

from math import ceil
from typing import Any

from calltune.report.findings import Findings
from calltune.report.tiles import TILES
from calltune.report.verdict import DEFAULT, EARLIER

_TONES = {"Ship": "good", "Do not ship": "bad"}
_TILE_TONES = {"better": "good", "worse": "bad"}
_MEANINGS = {
    "right decision": "a call, a question back, a refusal or an answer, whichever is right",
    "exact calls": "calls that are due and are just as expected, name and all arguments",
    "broken calls": "answers with a call that nobody can read; less is better",
}
_MISSING = "not measured; the benchmark when2call_generation measures it"


def top(findings: Findings) -> dict[str, Any]:
    """What the template lays out above everything else."""
    verdict = findings.verdict
    shown = {tile.name: tile for tile in verdict.tiles}
    missing = [name for name in TILES if name not in shown] if len(shown) < len(TILES) else []
    return {
        "verdict": verdict,
        "tone": "open" if verdict.better else _TONES.get(verdict.word, "open"),
        "decided_by": {"default": DEFAULT, "earlier": EARLIER}.get(verdict.decided_by, ""),
        "tiles": [
            {
                "name": name,
                "tile": tile,
                "tone": _TILE_TONES.get(tile.direction, "even"),
                "meaning": _MEANINGS.get(name, tile.benchmark),
            }
            for name, tile in shown.items()
        ],
        "missing": [(name, _MISSING) for name in missing],
        "power": [
            f"{each.benchmark}: {each.num_rows:,} questions, so differences above about "
            f"{ceil(100 * each.smallest)} points can be seen"
            for each in verdict.power
        ],
    }
