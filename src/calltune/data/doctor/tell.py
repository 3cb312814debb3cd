"""What the doctor found, as `doctor.json` keeps it and as lines for the terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from calltune.data.doctor import ALWAYS_REJECTED, NOISE, Finding
from calltune.data.doctor.changes import ChangeLog
from calltune.data.doctor.facts import Facts
from calltune.data.doctor.leaks import label_leaks
from calltune.data.doctor.lengths import token_lengths
from calltune.data.doctor.mix import behaviors_by_source
from calltune.data.doctor.verdicts import Judged
from calltune.runtime.terminal import say, show_table
from calltune.types import BEHAVIORS

WORDS: Mapping[Finding, str] = {
    "broken": "cannot be read or carried whole",
    "template": "would not be taught as written",
    "null_padding": "padded with nulls",
    "foreign_tool": "calls a tool that is not offered",
    "invalid_call": "the call breaks its own tool's schema",
    "retried_call": "a failed attempt, tried again by the next answer",
    "failed_call": "the call's result is an error",
    "swapped_result": "shows results that do not fit their calls",
    "corrected_answer": "the user's next turn says that it is wrong",
    "cut_answer": "the text was cut",
    "repeated_call": "the same call as before",
    "contamination": "a benchmark asks it too",
    "duplicate": "duplicate",
    "near_duplicate": "nearly a duplicate",
    "contradiction": "contradicts another row",
    "weight": "left out by its source's weight",
}


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The rows with their verdicts, what was judged, and all that is told of it (`doctor.json`)."""

    rows: Sequence[Facts]
    judged: Judged
    titles: Sequence[str]
    told: Mapping[str, Any]


def diagnosis(
    rows: Sequence[Facts],
    judged: Judged,
    titles: Sequence[str],
    max_lengths: Mapping[str, int | None],
    rejected: Sequence[Finding],
    changes: ChangeLog,
    template: Sequence[str] = (),
) -> Diagnosis:
    """Gather what was found, the `template`'s notes first.

    `told` has the same keys in the same order for the same rows.
    """
    leaks, tokens = label_leaks(rows), token_lengths(rows, max_lengths)
    told = {
        "rows": {
            title: {
                "read": len(own := [facts for facts in rows if titles[facts.source] == title]),
                "kept": sum(facts.verdict is None for facts in own),
                "repeated": sum(judged.copies.get(id(facts), 1) - 1 for facts in own),
                "rejected": _verdict_counts(own),
            }
            for title in titles
        },
        "behaviors": behaviors_by_source(rows, titles),
        "findings": {
            finding: {
                "rejected": finding in (*rejected, *ALWAYS_REJECTED),
                **({"share": len(judged.findings[finding]) / len(rows)} if finding in NOISE else {}),
                "rows": [
                    {"id": facts.id, "source": titles[facts.source], "reason": reason}
                    for facts, reason in judged.findings[finding]
                ],
            }
            for finding in get_args(Finding)
            if finding in judged.findings
        },
        "changes": dict(sorted(changes.kinds.items())),
        "leaks": leaks,
        "tokens": tokens,
        "notes": [*template, *changes.notes(), *_leak_lines(leaks), *_token_lines(tokens)],
    }
    return Diagnosis(rows, judged, titles, told)


def _verdict_counts(rows: Sequence[Facts]) -> dict[str, int]:
    verdicts = [facts.verdict[0] for facts in rows if facts.verdict]
    return {finding: verdicts.count(finding) for finding in get_args(Finding) if finding in verdicts}


def show(told: Mapping[str, Any]) -> None:
    """Print the mix as a table, then one line for each finding, leak and stage."""
    rows = [
        (f"{title} ({stage})", *(f"{counts[behavior]:,}" for behavior in BEHAVIORS), f"{sum(counts.values()):,}")
        for stage, sources in told["behaviors"].items()
        for title, counts in sources.items()
    ]
    show_table("training data by behaviour of the (chosen) answer", ("", *BEHAVIORS, "rows"), rows)
    for line in lines(told):
        say(f"doctor: {line}")


def lines(told: Mapping[str, Any]) -> list[str]:
    """Return what a user needs to know, a line for each fact."""
    read = sum(source["read"] for source in told["rows"].values())
    kept = sum(source["kept"] for source in told["rows"].values())
    result = [f"{read:,} rows read, {kept:,} kept, {read - kept:,} rejected"]
    for finding, entry in told["findings"].items():
        first = entry["rows"][0]
        fate = "rejected" if entry["rejected"] else "kept"
        count = len(entry["rows"])
        share = f", {entry['share']:.1%} of all" if "share" in entry else ""
        result.append(
            f"{count:,} row{'s'[: count > 1]} {fate}, {WORDS[finding]} ({finding}){share}: {first['id']}: "
            f"{first['reason']}" + (f", and {count - 1:,} more" if count > 1 else "")
        )
    changes = {kind: number for kind, number in told["changes"].items() if kind != "not_judged"}
    if number := told["changes"].get("not_judged"):
        result.append(
            f"patterns of tools' schemas that Python cannot read judge no call (changes.jsonl, not_judged): {number:,}"
        )
    if changes:
        counts = ", ".join(f"{kind} {number:,}" for kind, number in changes.items())
        result.append(f"tools and messages were put into one form (changes.jsonl): {counts}")
    return [*result, *told["notes"]]


def _leak_lines(leaks: Mapping[str, Any]) -> list[str]:
    """Return what gives a row's label away without its question, a line each."""
    result = []
    if one_sided := leaks["tools_with_one_behavior"]:
        tool, behavior = next(iter(one_sided.items()))
        result.append(
            f"{len(one_sided):,} of {leaks['tools_offered_often']:,} tools offered often go with one behaviour only, "
            f"which gives it away: '{tool}' with {behavior}"
        )
    if leaks["by_tools"] is not None:
        line = f"without the question, a row's tools tell its behaviour in {leaks['by_tools']:.1%} of rows"
        result.append(f"{line} (always the most frequent: {leaks['majority']:.1%})")
    if leaks["option_rule"] is not None:
        result.append(
            f"without a model, the call itself tells whether it is chosen in {leaks['option_rule']:.1%} of "
            f"{leaks['option_rule_pairs']:,} pairs (always the more frequent: {leaks['option_rule_majority']:.1%})"
        )
    return result


def _token_lines(tokens: Mapping[str, Any]) -> list[str]:
    """Return how long each stage's rows are, and which do not fit, a line each."""
    result = []
    for stage, sizes in tokens.items():
        share = sizes["tokens_trained_on"] / sizes["tokens"]
        result.append(
            f"{stage}: {sizes['tokens_trained_on']:,} of {sizes['tokens']:,} tokens are trained on ({share:.1%}); rows "
            f"have {sizes['median']:,} tokens in the median, {sizes['longest']:,} at most"
        )
        if over := sizes["too_long"]:
            cut = len(sizes["calls_too_long"])
            result.append(
                f"{stage}: {len(over):,} of {sizes['rows']:,} rows exceed max_length = {sizes['max_length']} and will "
                f"be left out whole ({over[0]}, ...); cut, {cut:,} would lose tokens of a call; "
                f"{stage}.max_length = {sizes['longest']} keeps all"
            )
    return result
