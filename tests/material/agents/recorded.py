"""What the makers of material share: the server, the clients that ask it, and how files are written."""

import gzip
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scripted_agent import CONVERSATIONS, STREAMED, answered
from scripted_server import Scripted

FOLDER = Path(__file__).parents[1] / "traces" / "agents"
_MACHINE = (
    *("mlflow.source.name", "mlflow.user", "mlflow.artifactLocation", "runtime", "revision_id"),
    *("exception.stacktrace", "telemetry.sdk.version", "service.instance.id"),
)
SERVER = Scripted()
os.environ |= {
    **{"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": f"{SERVER.url}/v1"},
    **{"ANTHROPIC_API_KEY": "none", "ANTHROPIC_BASE_URL": SERVER.url},
    **{"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_DEFAULT_REGION": "us-east-1"},
    **{"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": SERVER.url, "NO_PROXY": "127.0.0.1"},
}


def questions(*, can_stream: bool = True) -> Iterator[tuple[list[dict[str, Any]], bool]]:
    """Yield what stands before each answer, and whether it is to be streamed. The server has the answer ready."""
    for name, messages in CONVERSATIONS.items():
        for before, answer in answered(messages):
            SERVER.answer = answer
            yield before, can_stream and name in STREAMED


def ask_all(ask: Callable[[list[dict[str, Any]], bool], Any], *, can_stream: bool = True) -> list[Any]:
    """Return what `ask(before, is_streamed)` gives for each answer."""
    return [ask(before, streamed) for before, streamed in questions(can_stream=can_stream)]


def _cleaned(value: Any) -> Any:
    """Return a value without what says where it was made."""
    if isinstance(value, list):
        kept = [each for each in value if not (isinstance(each, dict) and each.get("key") in _MACHINE)]
        return [_cleaned(each) for each in kept]
    if not isinstance(value, dict):
        return value
    return {key: _cleaned(each) for key, each in value.items() if key not in _MACHINE and "source.git" not in key}


def write(name: str, rows: list[Any]) -> None:
    """Write rows as JSON lines, packed where they are long; what a file holds depends on its rows alone."""
    text = "".join(json.dumps(_cleaned(row), ensure_ascii=False) + "\n" for row in rows)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob(f"{name}.jsonl*"):
        old.unlink()
    if len(text) < 20_000:
        (FOLDER / f"{name}.jsonl").write_text(text)
    else:
        (FOLDER / f"{name}.jsonl.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"{name}: {len(rows)} rows, {len(text):,} characters")
