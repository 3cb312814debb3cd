"""The page in a real Chromium; skipped where Playwright or a Chromium is not installed."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import watched
from planted_run import HOSTILE_ANSWER, HOSTILE_TOOL, plant_run, run_file
from quickness import quickest

from calltune.config.run_file import load_config
from calltune.verbs import report

NUM_ROWS = 3652


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole of When2Call's size: 3,652 questions, three checkpoints, two benchmarks."""
    folder = plant_run(tmp_path_factory.mktemp("runs") / "toy", number=NUM_ROWS)
    report.run(load_config(run_file(folder)))
    return folder / "report.html"


@pytest.fixture
def opened(chromium: Any, page_file: Path) -> Iterator[Any]:
    with watched(chromium, page_file, 1280) as page:
        yield page


def matches(page: Any) -> str:
    # Typing is waited for before the list is filtered.
    page.wait_for_timeout(250)
    return page.locator("#matches").inner_text()


def test_it_is_ready_in_under_two_seconds(opened: Any) -> None:
    def milliseconds() -> float:
        opened.reload()
        assert opened.locator("#matches").inner_text() == "3,652 of 3,652 questions"
        return opened.evaluate("() => performance.getEntriesByType('navigation')[0].loadEventEnd")

    assert quickest(milliseconds, 2000) < 2000


def test_only_the_rows_in_sight_exist(opened: Any) -> None:
    rows = opened.locator("#rows .row")
    assert rows.count() < 40
    for row in range(0, NUM_ROWS, NUM_ROWS // 40):
        opened.evaluate("top => { document.getElementById('list').scrollTop = top; }", row * 64)
        opened.wait_for_selector(f"#row-{row}")
        assert rows.count() < 40
    opened.evaluate("() => { const list = document.getElementById('list'); list.scrollTop = list.scrollHeight; }")
    opened.wait_for_selector(f"#row-{NUM_ROWS - 1}")
    assert rows.count() < 40


def test_rows_are_drawn_faster_than_the_screen_is(opened: Any) -> None:
    """A jump to other rows, with their layout, in the 16 ms between two pictures."""
    script = """async (jump) => {
      const list = document.getElementById("list"), next = (call) => requestAnimationFrame(call);
      list.scrollTop = (jump % 20) * 64 * 150;
      return await new Promise((done) => {
        let start = 0;
        next(() => { start = performance.now(); });
        list.dispatchEvent(new Event("scroll"));
        next(() => { list.lastElementChild.getBoundingClientRect(); done(performance.now() - start); });
      });
    }"""
    jumps = itertools.count(1)
    assert quickest(lambda: opened.evaluate(script, next(jumps)), 16, tries=40) < 16


def test_filters(opened: Any) -> None:
    opened.select_option("#f-benchmark", label="when2call_generation")
    assert matches(opened) == "3,652 of 3,652 questions"
    opened.select_option("#f-group", label="tool_call")
    assert matches(opened) == "913 of 3,652 questions"
    opened.select_option("#f-label", label="malformed")
    broken = int(matches(opened).split()[0])
    assert 0 < broken < 200
    opened.select_option("#f-checkpoint", label="base")
    opened.select_option("#f-label", label="malformed")
    assert int(matches(opened).split()[0]) > broken
    opened.click("button[type=reset]")
    assert matches(opened) == "3,652 of 3,652 questions"
    opened.fill("#f-tool", "book_42")
    some = matches(opened)
    assert 30 <= int(some.split()[0]) <= 38
    opened.fill("#f-text", "no such words anywhere")
    assert matches(opened) == "0 of 3,652 questions"
    assert "clear a filter" in opened.locator("#detail").inner_text()


def test_flips_are_those_of_the_report(opened: Any, page_file: Path) -> None:
    written = json.loads((page_file.parent / "report.json").read_text())
    (pair,) = [
        c for c in written["comparisons"] if (c["benchmark"], c["before"], c["after"]) == ("when2call", "base", "dpo")
    ]
    opened.select_option("#f-flip", label="base right → dpo wrong")
    losses = pair["groups"][0]["losses"]
    assert matches(opened) == f"{losses:,} of 3,652 questions"


def test_an_example_is_opened_by_mouse_and_by_keys(opened: Any) -> None:
    opened.click("#row-1")
    detail = opened.locator("#detail")
    assert "Question 1: please book a room in City 1." in detail.inner_text()
    assert detail.locator(".answer").count() == 3
    assert detail.locator(".options td.won").count() == 3
    opened.focus("#list")
    opened.keyboard.press("ArrowDown")
    assert "Question 2:" in detail.inner_text()
    opened.keyboard.press("End")
    assert f"Question {NUM_ROWS - 1}:" in detail.inner_text()
    active = opened.locator("#list").get_attribute("aria-activedescendant")
    assert opened.locator(f"#{active}").get_attribute("aria-selected") == "true"
    opened.keyboard.press("Home")
    assert opened.locator("#row-0").get_attribute("aria-setsize") == "3652"


def test_hostile_text_is_text(opened: Any) -> None:
    opened.select_option("#f-benchmark", label="when2call_generation")
    opened.click("#row-0")
    detail = opened.locator("#detail")
    detail.locator("summary").click()
    assert HOSTILE_TOOL in detail.inner_text()
    shown = HOSTILE_ANSWER.replace("\u202e", "[U+202E]").replace("\u202c", "[U+202C]")
    assert shown in detail.inner_text()
    assert opened.locator("img").count() == 0
    assert opened.evaluate("() => document.scripts.length") == 2


def test_dark_and_light(opened: Any) -> None:
    def paper() -> str:
        return opened.evaluate("() => getComputedStyle(document.body).backgroundColor")

    opened.emulate_media(color_scheme="dark")
    dark = paper()
    opened.click("#theme")
    assert paper() != dark
    opened.emulate_media(color_scheme="light")
    light = paper()
    opened.click("#theme")
    assert paper() == dark
    opened.emulate_media(media="print")
    assert paper() == light


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_it_fits_every_width(opened: Any, width: int) -> None:
    opened.set_viewport_size({"width": width, "height": 800})
    assert opened.evaluate("() => document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [1100, 1240, 1260])
def test_no_table_hides_a_checkpoint_beside_its_plot(opened: Any, width: int) -> None:
    opened.set_viewport_size({"width": width, "height": 800})
    hidden = "table => table.offsetParent && table.scrollWidth > table.clientWidth + 1"
    assert opened.evaluate(f"() => [...document.querySelectorAll('.pair .wide')].filter({hidden}).length") == 0


def test_the_keyboard_reaches_the_report_first(opened: Any) -> None:
    opened.keyboard.press("Tab")
    assert opened.evaluate("() => document.activeElement.textContent") == "Skip to the report"
    opened.keyboard.press("Enter")
    assert opened.evaluate("() => document.activeElement.id") == "main"


def test_without_scripts_the_figures_are_there(chromium: Any, page_file: Path) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.locator("#ladder table").first.is_visible()
    assert "needs JavaScript" in page.locator("#examples").inner_text()
    assert page.locator("#filters").is_hidden()
    context.close()
