"""A clock that bounds a benchmark, the variants that it runs by worth, and the record that it leaves after each."""

import json
import math
import os
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

AT_40_PERCENT = 0.4


class Skip(Exception):
    """A variant that cannot be measured here, and why."""


class TimeIsUp(Exception):
    """The clock ran out within a variant."""


@dataclass(frozen=True)
class Variant:
    """One thing to measure: its name, the seconds that it is expected to take on a GPU, and how it is measured.

    `run` gives the facts of its record, and raises `Skip` where it cannot be.
    """

    name: str
    expected_seconds: float
    run: Callable[[], dict[str, Any]]


@dataclass
class Record:
    """What was measured, written to `file` after every variant; what is not finite is told as a fault, not written."""

    file: Path
    facts: dict[str, Any]
    limit: float
    is_dry: bool = False
    begun: float = field(default_factory=time.monotonic)
    variants: list[dict[str, Any]] = field(default_factory=list)

    def left(self) -> float:
        """Seconds until the limit."""
        return self.limit - (time.monotonic() - self.begun)

    def measure(self, number: int, variant: Variant, left_out: str | None) -> None:
        """Run a variant, or say why it is skipped, and write the record."""
        row: dict[str, Any] = {"number": number, "name": variant.name}
        # On a CPU everything is small, and takes other times.
        needed = 0.0 if self.is_dry else variant.expected_seconds
        started = time.monotonic()
        if left_out:
            row |= {"status": "skipped", "reason": left_out}
        elif self.left() < max(needed, 1.0):
            row |= {"status": "skipped", "reason": f"{self.left():.0f} s are left, and it takes about {needed:.0f} s"}
        else:
            row |= self._run(variant)
        row["seconds_in_all"] = round(time.monotonic() - started, 2)
        if places := not_finite(row):
            row = {key: row[key] for key in ("number", "name")}
            row |= {"status": "failed", "reason": f"not finite: {', '.join(places)}"}
        self.variants.append(row)
        self.write()
        told = row.get("reason") or ", ".join(f"{key} {value}" for key, value in row.items() if key in _TOLD)
        print(f"[{time.monotonic() - self.begun:.0f} s] {number} {variant.name}: {row['status']}: {told}", flush=True)

    def _run(self, variant: Variant) -> dict[str, Any]:
        try:
            with _bounded(self.left()):
                return {"status": "measured", **variant.run()}
        except Skip as reason:
            return {"status": "skipped", "reason": str(reason)}
        except TimeIsUp:
            return {"status": "skipped", "reason": "the time was up before it ended"}
        except Exception as error:  # noqa: BLE001 - the variants after it are measured whatever becomes of this one
            traceback.print_exc()
            words = (str(error).strip() or "?").splitlines()[0]
            return {"status": "failed", "reason": f"{type(error).__name__}: {words[:300]}"}

    def write(self) -> None:
        """Replace the file in one step: a run that is cut off leaves the last whole one."""
        text = json.dumps({**self.facts, "variants": self.variants}, indent=1, allow_nan=False)
        beside = self.file.with_suffix(".part")
        beside.write_text(text + "\n", encoding="utf-8")
        os.replace(beside, self.file)

    def of(self, name: str) -> dict[str, Any]:
        """A measured variant's record; empty where it was not measured."""
        return next((row for row in self.variants if row["name"] == name and row["status"] == "measured"), {})


_TOLD = ("seconds", "useful_mfu", "rows_per_second", "peak_gib", "tflops", "loss", "seconds_of_packing", "note")


@contextmanager
def _bounded(seconds: float) -> Any:
    """Raise `TimeIsUp` between two calls of torch when the seconds are over."""

    def over(*_: Any) -> None:
        raise TimeIsUp

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, max(1.0, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def not_finite(value: Any, place: str = "") -> list[str]:
    """The places of a record's numbers that are none."""
    if isinstance(value, dict):
        return [found for key, inner in value.items() for found in not_finite(inner, f"{place}.{key}".lstrip("."))]
    if isinstance(value, list):
        return [found for number, inner in enumerate(value) for found in not_finite(inner, f"{place}[{number}]")]
    return [place] if isinstance(value, float) and not math.isfinite(value) else []


def roofline(flops: float, peak: float, seconds: float, is_peak_of_here: bool) -> dict[str, float]:
    """What useful work would take at the peak and at 40 % of it, and its share of the peak in the seconds it took."""
    ideal = flops / peak
    found = {"ideal_seconds": _rounded(ideal), "seconds_at_40_percent": _rounded(ideal / AT_40_PERCENT)}
    return found | ({"useful_mfu": _rounded(ideal / seconds)} if is_peak_of_here else {})


def _rounded(value: float) -> float:
    """Four digits that count."""
    return float(f"{value:.4g}")


_COLUMNS = {
    "seconds": "seconds",
    "ideal_seconds": "ideal",
    "seconds_at_40_percent": "at 40 %",
    "useful_mfu": "useful MFU",
    "rows_per_second": "rows/s",
    "peak_gib": "peak GiB",
}


def table(variants: list[dict[str, Any]]) -> str:
    """All variants as text: times beside the roofline's, and for what was not measured its reason."""
    widest = max(len(row["name"]) for row in variants)
    head = f"{'':>3} {'variant':<{widest}}" + "".join(f"{words:>12}" for words in _COLUMNS.values())
    lines = [head, "-" * len(head)]
    for row in variants:
        line = f"{row['number']:>3} {row['name']:<{widest}}"
        if row["status"] != "measured":
            lines.append(f"{line}  {row['status']}: {row['reason']}")
            continue
        figures = [row.get(key) for key in _COLUMNS]
        line += "".join(f"{'' if figure is None else f'{figure:.4g}':>12}" for figure in figures)
        lines.append(f"{line}  {row.get('note', '')}".rstrip())
    return "\n".join(lines)
