"""`calltune audit`: what files of rows are and hold, without a run file, a model or torch; writes a page at most."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calltune.data.audit.reading import audited
from calltune.files.disk import writing_to
from calltune.runtime.terminal import say, show_table
from calltune.runtime.told import tell_program
from calltune.types import BEHAVIORS
from calltune.verbs.init import TEMPLATES

_KINDS = ("answers", "pairs")
_MOST_TOOLS = 15
_FEWEST_FOR_SHARES = 50
_NOT_LOOKED_AT = (
    "not looked at, as it takes a run file and its model: whether the model's template teaches each row as written, "
    "how many tokens rows have, and whether a benchmark asks them too"
)


def run(path: str, page: Path | None = None) -> dict[str, Any]:
    """Look at a file or a folder, print what it is and holds, and write a page of it where one is asked for.

    Args:
        page: the file of the page.

    Returns:
        What was told, as JSON has it.

    Raises:
        DataError: there is no such file, or none of the files can be read.
        RunFolderError: the page cannot be written.
    """
    told = audited(path)
    told |= {"not_looked_at": _NOT_LOOKED_AT, "next": _next(told)}
    if page is not None:
        from calltune.report.page.audit import write_audit_page

        with writing_to(page.parent):
            write_audit_page(told, page)
    tell_program(**told)
    _show(told)
    if page is not None:
        say(f"written: {page}")
    return told


def _next(told: Mapping[str, Any]) -> str:
    """Return the command to type next."""
    if not sum(told["trainable"][kind] for kind in _KINDS):
        return "mend the rows first: none of them could be trained on"
    # A file that has a template's name is told from it by its folder.
    path = f"./{told['path']}" if told["path"] in TEMPLATES else told["path"]
    return f"calltune init {shlex.quote(path)}"


def _inside(text: str, path: str) -> str:
    """Return a text with files of a folder named as they are inside of it."""
    return text.replace(f"{path.rstrip('/')}/", "")


def _show(told: Mapping[str, Any]) -> None:
    say(f"audit: {told['path']}: {told['rows']:,} rows hold {_held(told)}")
    files = [
        (
            _inside(each["first"], told["path"]) + (f" and {each['files'] - 1:,} more" if each["files"] > 1 else ""),
            *(each["layout"], each["sureness"], each["source"], f"{each['rows']:,}"),
        )
        for each in told["files"]
    ]
    show_table("files", ("", "layout", "how sure", "read with", "rows"), files)
    for each in told["not_read"]["first"]:
        say(f"not read: {_inside(each['problem'], told['path'])}")
    _show_behaviors(told)
    _show_tools(told)
    findings = [
        (
            f"{name}: {each['words']}",
            *(f"{each['rows']:,}", f"{each['share']:.1%}", "left out" if each["rejected"] else "kept"),
            _inside(f"{each['first']['id']}: {each['first']['reason']}", told["path"]),
        )
        for name, each in told["findings"].items()
    ]
    if findings:
        show_table("what was found", ("", "rows", "share", "would be", "the first"), findings)
    for line in lines(told):
        say(f"audit: {_inside(line, told['path'])}")
    say(f"next: {told['next']}")


def _held(told: Mapping[str, Any]) -> str:
    parts = [f"{told[kind]:,} {kind}" for kind in _KINDS if told[kind]]
    if told["unread"]:
        parts.append(f"{told['unread']:,} that cannot be read")
    return ", ".join(parts)


def _show_behaviors(told: Mapping[str, Any]) -> None:
    rows = []
    for kind, behaviors in told["behaviors"].items():
        for name, key in ((kind, "found"), (f"{kind} that could be trained on", "trainable")):
            counts = [behaviors[behavior][key] for behavior in BEHAVIORS]
            if told[kind]:
                rows.append((name, *(f"{count:,}" for count in counts), f"{sum(counts):,}"))
    if rows:
        show_table("behaviour of the (chosen) answer", ("", *BEHAVIORS, "all"), rows)


def _show_tools(told: Mapping[str, Any]) -> None:
    rows = [
        (
            *(tool["name"], f"{tool['offered']:,}", f"{tool['called']:,}", f"{tool['broken']:,}"),
            ", ".join(f"{name} {count:,}" for name, count in tool["unknown_arguments"].items()),
        )
        for tool in told["tools"][:_MOST_TOOLS]
    ]
    if rows:
        title = f"tools: {len(told['tools']):,} in all, {sum(tool['called'] > 0 for tool in told['tools']):,} called"
        columns = ("", "offered in rows", "calls", "rows with a broken call", "unknown arguments")
        show_table(title, columns, rows)
    if (more := len(told["tools"]) - _MOST_TOOLS) > 0:
        say(f"and {more:,} more tools, called less often")


def lines(told: Mapping[str, Any]) -> list[str]:
    """Return what stands in no table, a line for each fact."""
    result = []
    if told["broken_calls"]:
        counts = ", ".join(f"{kind} {count:,}" for kind, count in told["broken_calls"].items())
        result.append(f"what is wrong with calls: {counts}")
    result += [
        f"{each['rows']:,} cannot be read, such as {each['id']}: {each['reason']}" for each in told["unread_because"]
    ]
    personal = [f"{kind} {each['values']:,} in {each['rows']:,} rows" for kind, each in told["personal"].items()]
    result.append(f"personal details, by their form: {', '.join(personal) or 'none'}")
    leaks = told["leaks"]
    if leaks["by_tools"] is not None and sum(told["trainable"][kind] for kind in _KINDS) >= _FEWEST_FOR_SHARES:
        result.append(
            f"without the question, a row's tools tell its behaviour in {leaks['by_tools']:.1%} of rows (always the "
            f"most frequent: {leaks['majority']:.1%})"
        )
    if told["changes"]:
        changes = ", ".join(f"{kind} {count:,}" for kind, count in told["changes"].items())
        result.append(f"tools and messages are put into one form: {changes}")
    result += told["notes"]
    left_out = ", ".join(f"{name} {count:,}" for name, count in told["trainable"]["left_out"].items())
    kept = ", ".join(f"{told['trainable'][kind]:,} {kind}" for kind in _KINDS if told[kind])
    result.append(f"could be trained on: {kept or 'nothing'}" + (f"; left out: {left_out}" if left_out else ""))
    return [*result, told["not_looked_at"]]
