"""The page of `calltune audit`: one file in the report's dress, without any script."""

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from calltune.files.json_lines import atomic_writer
from calltune.report.page.environment import FILES, page_environment
from calltune.report.page.inert import visible

_MOST_TOOLS = 40


def write_audit_page(told: Mapping[str, Any], path: Path) -> None:
    """Write what the audit told as a page of HTML.

    Raises:
        RunFolderError: the file cannot be written.
    """
    with atomic_writer(path) as file:
        file.write(audit_html(told))


def audit_html(told: Mapping[str, Any]) -> str:
    """Return the page as text; all that comes from files is escaped, and what would steer the eye is made visible."""
    style = (FILES / "page.css").read_text("utf-8")
    environment = page_environment()
    folder = f"{told['path'].rstrip('/')}/"
    environment.filters |= {
        "breakable": lambda text: _breakable(text.replace(folder, "")),
        "count": "{:,}".format,
        "words": _words,
    }
    return environment.get_template("audit.html.jinja").render(
        told=told,
        headline=_headline(told),
        kinds=[kind for kind in ("answers", "pairs") if told[kind]],
        tools=told["tools"][:_MOST_TOOLS],
        num_called=sum(tool["called"] > 0 for tool in told["tools"]),
        style=Markup(style),
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    )


def _headline(told: Mapping[str, Any]) -> str:
    num_files = sum(each["files"] for each in told["files"])
    held = " and ".join(f"{told[kind]:,} {kind}" for kind in ("answers", "pairs") if told[kind]) or "no answer"
    kept = sum(told["trainable"][kind] for kind in ("answers", "pairs"))
    files = "One file" if num_files == 1 else f"{num_files:,} files"
    verb = "holds" if num_files == 1 else "hold"
    unread = f" {told['unread']:,} more cannot be read." if told["unread"] else ""
    return f"{files} with {told['rows']:,} rows {verb} {held}; {kept:,} could be trained on.{unread}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _breakable(text: str) -> Markup:
    """Return a text that may be broken after an underscore, a dot, a slash or an equals sign."""
    return Markup(re.sub(r"([_./=])(?=\w)", r"\1<wbr>", str(escape(visible(text)))))
