"""The page `report.html`: one file that needs no network, no server and no library, and trusts no text in it.

Everything that came from a model or a data file is escaped, and its control characters are made visible. A content
security policy allows the page's own script and style, by their hashes, and nothing else.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from markupsafe import Markup, escape

from calltune.config.model_name import model_name
from calltune.files.json_lines import atomic_writer
from calltune.report.findings import Findings
from calltune.report.page import view as figures
from calltune.report.page.charts import standalone
from calltune.report.page.drawings import drawings, tones
from calltune.report.page.environment import FILES, page_environment
from calltune.report.page.examples import examples
from calltune.report.page.inert import json_for_page, visible


def write_page(findings: Findings, run_folder: Path) -> Path:
    """Write `report.html`, and every plot as `report/*.svg`.

    Returns:
        The path of the page.

    Raises:
        RunFolderError: the folder cannot be written.
    """
    drawn = drawings(findings)
    plots = run_folder / "report"
    for old in plots.glob("*.svg"):
        old.unlink()
    for name, svg in drawn.items():
        with atomic_writer(plots / f"{name}.svg") as file:
            file.write(standalone(svg))
    path = run_folder / "report.html"
    with atomic_writer(path) as file:
        file.write(page_html(findings, drawn))
    return path


def page_html(findings: Findings, drawn: Mapping[str, str]) -> str:
    """The whole page as text; plots come by their name."""
    browsed = examples(findings.benchmarks)
    style, script = (FILES / "page.css").read_text("utf-8"), (FILES / "page.js").read_text("utf-8")
    environment = page_environment()
    for name in ("share", "span", "signed", "signed_span", "p_value", "count", "found", "found_span", "bias"):
        environment.filters[name] = getattr(figures, name)
    environment.filters |= {"drawing": Markup, "breakable": _breakable, "model_name": model_name}
    shown = figures.view(findings, drawn)
    return environment.get_template("page.html.jinja").render(
        **shown,
        tone=tones(findings.checkpoints),
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        examples=Markup(json_for_page(browsed)),
        has_examples=bool(browsed["benchmarks"]),
    )


def _breakable(name: str) -> Markup:
    """A long name that may be broken after an underscore or a dot."""
    return Markup(re.sub(r"([_.])", r"\1<wbr>", str(escape(visible(name)))))


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
