"""What every page is written with: templates in which all text is escaped, and what would steer the eye is visible."""

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from calltune.report.page.inert import visible

FILES = Path(__file__).parent
"""Where templates, styles and scripts of the pages lie."""


def page_environment() -> jinja2.Environment:
    """Return the environment of the pages' templates; a name that a template is not given is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(FILES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_inert,
    )


def _inert(value: Any) -> Any:
    """Applied to everything that a template writes, before it is escaped."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
