"""What a run's folder holds, read back with its shape checked: another version of calltune may have written it.

A file may hold more than this version knows; what it must hold is said here, once for every reader. What is missing or
of another kind is one line that names the file and says what to do.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar

import pydantic

from calltune.errors import RunFolderError
from calltune.files.json_lines import read_json
from calltune.files.written_by import who_wrote

_Noun = TypeVar("_Noun")
Counts = dict[str, int]
STEPS_NOW = "steps_now.json"
"""Stands among the checkpoints of a stage that trains."""

Pair = Annotated[list[float], pydantic.Field(min_length=2, max_length=2)]


class State(pydantic.BaseModel):
    """A file of a run's folder; a field with a default may be missing or null, and is then read as that."""

    model_config = pydantic.ConfigDict(extra="allow", strict=True, frozen=True)

    mend: ClassVar[str] = "remove it and run the stage again"
    """What the user can do when the file is not of this shape."""


class RunOwner(State):
    """`config.json`, of what says whose folder it is."""

    mend: ClassVar[str] = "if the folder is this run's own, remove this file and run again: what was made stays"
    model: str


class MineTable(State):
    """`[mine]` in `config.json`; older runs know of no rounds."""

    rounds: int = 1


class RunConfig(RunOwner):
    """`config.json`, of what a report reads of another run."""

    mend: ClassVar[str] = "run evaluate of that run, which writes it anew, or leave it out of 'report.compare'"
    name: str
    stages: list[Annotated[str, pydantic.Field(pattern="^(sft|dpo|grpo)$")]]
    mine: MineTable | None = None


class Guarded(State):
    """What a stage's manifest says of its guard, as far as others read it."""

    kept_step: int | None = None
    collapse: str | None = None


class Manifest(State):
    """`manifest.json` of a stage; the seals are missing in those of an older version."""

    inputs: dict[str, Any]
    sha256: dict[str, str] = {}
    bytes: Counts = {}
    mtime_ns: Counts = {}
    counts: dict[str, Any] = {}
    steps: int | None = None
    seconds: float | None = None
    train_seconds: float | None = None
    trainable_share: float | None = None
    versions: dict[str, str] = {}
    guard: Guarded | None = None


class TrainedManifest(State):
    """`manifest.json` of a stage of training, of what a model card tells."""

    counts: dict[str, Any]
    steps: int
    trainable_share: float
    guard: Guarded | None = None


class Inputs(State):
    """`inputs.json` of a stage that was begun."""


class Table(State):
    """How often each label was given where each was asked for."""

    labels: list[str]
    counts: list[list[int]]

    @pydantic.model_validator(mode="after")
    def _is_a_table(self) -> Self:
        width = len(self.labels)
        if len(self.counts) > width or any(len(row) != width for row in self.counts):
            raise ValueError("it has other rows or columns than labels")
        return self


class ResultFile(State):
    """`result.json` of one checkpoint and one benchmark."""

    mend: ClassVar[str] = "run evaluate again: it is made anew of the answers that are there"
    benchmark: str
    checkpoint: str
    prompt: str
    num_samples: int
    num_correct: int
    num_wrong: int
    num_malformed: int
    num_truncated: int
    num_errors: int
    primary_metric: str
    metrics: dict[str, float | None]
    intervals: dict[str, Pair | None] = {}
    confusion: dict[str, Table] = {}
    versions: dict[str, str] = {}
    data_sha256: str
    thoughts: dict[str, int] | None = None


class History(State):
    """`history.json`: what the trainer logged."""

    mend: ClassVar[str] = "the curves of this stage are left out; its model is whole, so nothing need be run again"
    log: list[dict[str, float]]


class StepsNow(State):
    """`STEPS_NOW`: how far training is; `seconds` are those since the step that this process began from."""

    step: int
    steps: int
    begun_from: int
    seconds: float
    loss: float | None = None


class RowCounts(State):
    """Of one source in `doctor.json`."""

    read: int
    kept: int
    repeated: int
    rejected: Counts


class FoundRows(State):
    """Of one finding in `doctor.json`."""

    rejected: bool
    rows: list[dict[str, str]]


class Doctor(State):
    """`data/doctor.json`, of what the page shows and `prepare` reads again."""

    mend: ClassVar[str] = "remove it and run prepare again"
    behaviors: dict[str, dict[str, Counts]]
    rows: dict[str, RowCounts]
    findings: dict[str, FoundRows]
    changes: Counts
    notes: list[str] | None = None


class Statistics(State):
    """`statistics.json` of a round of mining, of what the page shows."""

    mend: ClassVar[str] = "remove it and run mine again"
    num_wrong: Counts
    num_answers: int
    num_questions_with: Counts
    num_mined_by_error: Counts
    num_not_paired: Counts
    num_questions: int
    num_right: int
    num_undecided: int
    easy: list[Any]
    never_right: list[Any]
    num_pairs: int
    num_mined: int
    num_chosen_own: int
    num_given: int


class TrackedStage(State):
    """The MLflow run of a stage, and the hash of what the stage was made from."""

    run: str
    inputs: str


class Tracking(State):
    """`tracking.json`: which MLflow runs a run's stages have."""

    mend: ClassVar[str] = "remove it, and the stages get new MLflow runs"
    store: list[str]
    parent: str | None
    stages: dict[str, TrackedStage]


class Fetched(State):
    """`fetched.json`: from each stage to the name of the job whose artefact its folder is."""

    mend: ClassVar[str] = "remove it, and what the jobs made is fetched again"

    @pydantic.model_validator(mode="after")
    def _are_names(self) -> Self:
        if other := next((key for key, name in (self.model_extra or {}).items() if not isinstance(name, str)), None):
            raise ValueError(f"'{other[:200]}' is no job's name")
        return self


class Reference(State):
    """A file of `reference/`: what the reference thinks of the answers of each pair."""

    mend: ClassVar[str] = "remove it, and it is computed again"
    ref_chosen_logps: list[float]
    ref_rejected_logps: list[float]


def read_state(path: Path, shape: type[State]) -> dict[str, Any]:
    """The object in a file of a run's folder; what it may lack and has a default is filled in.

    Raises:
        RunFolderError: it is missing, damaged, or of another shape.
    """
    value: Any = read_json(path, shape.mend)
    if not isinstance(value, dict):
        raise _other_shape(path, shape, f"holds {_kind(value)} where an object was expected", {})
    # A field of which a null says no more than its absence.
    optional = {name for name, field in shape.model_fields.items() if not field.is_required()}
    given = {key: inner for key, inner in value.items() if inner is not None or key not in optional}
    try:
        read = shape.model_validate(given)
    except pydantic.ValidationError as error:
        raise _other_shape(path, shape, _first_problem(error), value) from None
    missing = ((name, getattr(read, name)) for name in sorted(optional - given.keys()))
    return {**given, **{name: default for name, default in missing if default is not None}}


def read_noun(kind: type[_Noun], row: Mapping[str, Any], where: str) -> _Noun:
    """A noun from a row of one of our own files; what the row holds beyond the noun's fields is left out.

    Args:
        where: file and line.

    Raises:
        RunFolderError: a field is missing or of another kind; what to do about it, the caller knows.
    """
    try:
        return _adapter(kind).validate_python(row)
    except pydantic.ValidationError as error:
        raise RunFolderError(f"{where}: {_first_problem(error)}") from None


@cache
def _adapter(kind: type[_Noun]) -> pydantic.TypeAdapter[_Noun]:
    return pydantic.TypeAdapter(kind)


def _other_shape(path: Path, shape: type[State], problem: str, value: Mapping[str, Any]) -> RunFolderError:
    return RunFolderError(f"{path}: {problem}{who_wrote(value)}; {shape.mend}")


def _first_problem(error: pydantic.ValidationError) -> str:
    problem = error.errors(include_input=False, include_url=False)[0]
    # What pydantic adds to tell the members of a union apart is no key.
    key = ".".join(str(part) for part in problem["loc"] if not str(part).startswith(("constrained", "list[", "dict[")))
    if problem["type"] == "missing":
        return f"'{key}' is missing"
    reason = problem["msg"].removeprefix("Value error, ")
    return f"'{key}' is wrong: {reason[0].lower()}{reason[1:]}"


def _kind(value: Any) -> str:
    return {list: "a list", str: "a text", bool: "a truth value", type(None): "null"}.get(type(value), "a number")
