"""The page of `calltune try --serve`: one file that asks the server it came from, and nobody else."""

import base64
import hashlib
import json
from collections.abc import Sequence

from markupsafe import Markup

from calltune.calling.layout import tool_dict
from calltune.report.page.environment import FILES, page_environment
from calltune.report.page.inert import json_for_page
from calltune.types import Tool


def try_page(name: str, checkpoints: Sequence[str], tools: Sequence[Tool], origin: str) -> tuple[str, str]:
    """The page, and the content security policy that it is sent with.

    Args:
        name: of the run.
        tools: those that are offered until the user writes others.
        origin: where they come from, in words.
    """
    style, script = (FILES / "try.css").read_text("utf-8"), (FILES / "try.js").read_text("utf-8")
    environment = page_environment()
    offered = json.dumps([tool_dict(tool) for tool in tools], ensure_ascii=True, allow_nan=False, indent=1)
    page = environment.get_template("try.html.jinja").render(
        name=name,
        checkpoints=list(checkpoints),
        checkpoints_json=Markup(json_for_page(list(checkpoints))),
        tools=offered if tools else "",
        num_tools=len(tools),
        origin=origin,
        style=Markup(style),
        script=Markup(script),
    )
    policy = (
        f"default-src 'none'; connect-src 'self'; style-src 'sha256-{_hash(style)}'; "
        f"script-src 'sha256-{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
