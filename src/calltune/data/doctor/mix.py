"""How often each behaviour is taught, and what a run measures but does not teach."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from calltune.config.run_file import Config
from calltune.data.doctor.facts import Facts
from calltune.errors import DataError
from calltune.types import BEHAVIORS, Behavior

KIND_OF_STAGE = {"sft": "example", "dpo": "preference"}
"""The stages that are trained on rows of one kind, each with that kind; `grpo` asks the questions of both."""


def behaviors_by_source(rows: Iterable[Facts], titles: Sequence[str]) -> dict[str, dict[str, dict[str, int]]]:
    """Rows kept, by stage, source and behaviour of the (chosen) answer."""
    counts = Counter((facts.kind, titles[facts.source], facts.behavior) for facts in rows if facts.verdict is None)
    return {
        stage: {
            title: {behavior: counts[kind, title, behavior] for behavior in BEHAVIORS}
            for title in titles
            if any(counts[kind, title, behavior] for behavior in BEHAVIORS)
        }
        for stage, kind in KIND_OF_STAGE.items()
    }


def stop_when_missing(
    config: Config, mix: Mapping[str, Mapping[str, Mapping[str, int]]], counted: set[Behavior]
) -> None:
    """See that each stage's rows show calls and every behaviour that is counted.

    Raises:
        DataError: one is missing that `data.allow_missing` does not name.
    """
    for stage in config.stages:
        tables = [mix[stage]] if stage in mix else mix.values()
        sources = [counts for table in tables for counts in table.values()]
        taught = {behavior for counts in sources for behavior, count in counts.items() if count}
        needed = {"tool_call", *counted} - {*config.data.allow_missing}
        missing = [behavior for behavior in BEHAVIORS if behavior in needed - taught]
        if taught and missing:
            teaches = "never to call a tool" if "tool_call" in missing else f"never to show {missing[0]}"
            raise DataError(
                f"{stage}: none of its rows shows {', '.join(missing)}, so it would teach {teaches}; add rows "
                f"that do, or set data.allow_missing = {[*config.data.allow_missing, *missing]}".replace("'", '"')
            )
