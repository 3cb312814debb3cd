"""What a deployment reads of a run's folder: the export's manifest, and what `report.json` says of a checkpoint."""

from typing import ClassVar

from calltune.files.state import Manifest, State


class ExportManifest(Manifest):
    """`manifest.json` of an export."""

    mend: ClassVar[str] = "run export again"
    checkpoint: str
    serve: str


class ReportedResult(State):
    """One checkpoint's figures on one benchmark in `report.json`; one that is not finite is told in words."""

    benchmark: str
    checkpoint: str
    metrics: dict[str, float | str | None]


class ReportedGate(State):
    """What `report.json` says of the gate; `passed` is None without rules."""

    passed: bool | None = None
    checkpoint: str | None = None


class ReportedVerdict(State):
    """The verdict on the checkpoint `after`; `better` is an earlier one that is to be shipped in its place, if any."""

    after: str
    reason: str
    title: str = ""
    better: str = ""


class ReportFile(State):
    """`report.json`, of what a registry and a model card are told; older ones name no better checkpoint."""

    mend: ClassVar[str] = "run report again"
    results: list[ReportedResult]
    gate: ReportedGate
    verdict: ReportedVerdict | None = None
