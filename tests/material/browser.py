"""A real Chromium for the tests of pages; they are skipped where Playwright or a Chromium is not installed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    why = "Playwright is not installed (pip install playwright)"
    playwright = pytest.importorskip("playwright.sync_api", reason=why)
    with playwright.sync_playwright() as started:
        found = [path for name in NAMES if (path := shutil.which(name))]
        program = (os.environ.get("CALLTUNE_CHROMIUM"), *found, started.chromium.executable_path)
        path = next(filter(None, program))
        if not Path(path).exists():
            pytest.skip("no Chromium is installed (playwright install chromium, or set CALLTUNE_CHROMIUM)")
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def watched(chromium: Any, page_at: Path | str, width: int, fragment: str = "") -> Iterator[Any]:
    """The page of a file or an address; it may give no message, error or dialog, and ask for nothing elsewhere."""
    own = page_at.as_uri() if isinstance(page_at, Path) else page_at
    context = chromium.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("dialog", lambda dialog: (told.append(dialog.message), dialog.dismiss()))
    # A file asks for nothing but itself, a server's page for what lies below its address.
    is_own = (lambda url: url.split("#")[0] == own) if isinstance(page_at, Path) else (lambda url: url.startswith(own))
    page.on("request", lambda request: None if is_own(request.url) else told.append(request.url))
    page.goto(own + fragment)
    yield page
    context.close()
    assert told == []
