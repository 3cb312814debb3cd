"""The page of `calltune try --serve` in a real browser: it asks every checkpoint, and goes on with a result."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import watched

from calltune.models.backends.hf import Backend
from calltune.models.serve.server import ChatServer
from calltune.report.page.trying import try_page
from calltune.types import Message, Sample, Tool

WARM = Path(__file__).parents[2] / "examples" / "tiny-qwen3"
WEATHER = Tool(
    "get_weather",
    "The weather in a city. </textarea><script>alert(1)</script>",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)

QUESTION = "What is the weather in Paris?"


@pytest.fixture(scope="module")
def backend() -> Backend:
    return Backend(str(WARM), 2048)


@pytest.fixture(scope="module")
def address(backend: Backend) -> Iterator[str]:
    page, policy = try_page("toy", ["base", "sft"], [WEATHER], "a test")
    with ChatServer({"base": backend, "sft": backend}, 0, room=48, page=page.encode(), policy=policy) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("width", [390, 1200])
def test_it_asks_all_and_goes_on_with_a_result(chromium: Any, address: str, backend: Backend, width: int) -> None:
    (expected,) = backend.answer([Sample("q", "q", (Message("user", QUESTION),), (WEATHER,), None)], 48)
    assert expected.message
    assert expected.message.tool_calls, "the question no longer makes the model call"
    with watched(chromium, address, width) as page:
        page.fill("#line", QUESTION)
        page.keyboard.press("Enter")
        name = expected.message.tool_calls[0].name
        for number in range(2):
            page.wait_for_selector(f".answers section:nth-child({number + 1}) .call")
            assert page.locator(".answers section .call").nth(number).inner_text().startswith(f"{name}(")
        page.wait_for_selector('#talk[aria-busy="false"]')
        page.fill("#line", "= <b>Rain</b>\u202e")
        page.click('button:text-is("Ask")')
        page.wait_for_selector(".turn:nth-child(2)")
        page.wait_for_selector('#talk[aria-busy="false"]')
        assert page.locator(".turn").nth(1).locator("p").first.inner_text() == "= <b>Rain</b>[U+202E]"
        assert page.locator(".turn").nth(1).locator("section").count() == 2
        assert not page.locator("text=not answered").count()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
