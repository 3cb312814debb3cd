"""What a reader does with the page: clicks a figure, shares an address, moves with keys, reads on a phone."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from browser import watched
from planted_run import plant_run, run_file

from calltune.config.run_file import load_config
from calltune.verbs import report

Open = Callable[..., AbstractContextManager[Any]]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = plant_run(tmp_path_factory.mktemp("runs") / "toy", number=240)
    report.run(load_config(run_file(folder)))
    return folder / "report.html"


@pytest.fixture
def open_page(chromium: Any, page_file: Path) -> Open:
    return partial(watched, chromium, page_file)


def matches(page: Any) -> int:
    # Typing is waited for before the list is filtered, and the address is written a little later.
    page.wait_for_timeout(350)
    return int(page.locator("#matches").inner_text().split()[0].replace(",", ""))


def test_every_figure_opens_as_many_questions_as_it_counts(open_page: Open) -> None:
    script = """async () => {
      const told = [];
      for (const link of document.querySelectorAll('a[href^="#examples?"]')) {
        const changed = new Promise((done) => window.addEventListener("hashchange", done, { once: true }));
        location.hash = "#top-of-page";
        await changed;
        const opened = new Promise((done) => window.addEventListener("hashchange", done, { once: true }));
        location.hash = link.getAttribute("href");
        await opened;
        const row = link.closest("tr, li"), isTool = link.querySelector("code");
        const counted = (isTool ? row.querySelector("td") : link).textContent.replaceAll(",", "");
        const found = parseInt(document.getElementById("matches").textContent);
        told.push([link.getAttribute("href"), Number(counted), found]);
      }
      return told;
    }"""
    with open_page(1280) as page:
        told = page.evaluate(script)
    kinds = (
        "&gave=tool_call",
        "&gave=%3Dright",
        "&gave=malformed",
        "&mistake=",
        "&tool=",
        "%3Ewin",
        "%3Eloss",
        "%3Edirect",
    )
    for kind in kinds:
        assert [link for link, _, _ in told if kind in link], kind
    assert len(told) > 60
    assert [each for each in told if each[1] != each[2]] == []


def test_a_click_on_a_cell_filters_and_goes_back(open_page: Open) -> None:
    with open_page(1280) as page:
        cell = page.locator(".matrix a").first
        count = int(cell.inner_text())
        cell.click()
        assert matches(page) == count
        assert page.evaluate("() => document.getElementById('examples').getBoundingClientRect().top") < 100
        page.go_back()
        assert "examples" not in page.evaluate("() => location.hash")


def test_filters_and_the_question_stand_in_the_address(open_page: Open) -> None:
    with open_page(1280) as page:
        assert page.evaluate("() => location.hash") == ""
        page.select_option("#f-benchmark", "when2call_generation")
        page.select_option("#f-checkpoint", "sft")
        page.select_option("#f-mistake", "wrong value")
        page.fill("#f-text", "please & thank you = city")
        assert matches(page) == 0
        page.fill("#f-text", "please")
        count = matches(page)
        assert count > 1
        page.click("#row-1")
        shown, fragment = page.locator("#detail").inner_text(), ""
        page.wait_for_function("() => location.hash.includes('at=')")
        fragment = page.evaluate("() => location.hash")
    with open_page(1280, fragment) as page:
        assert matches(page) == count
        values = [page.locator(f"#f-{name}").input_value() for name in ("benchmark", "checkpoint", "mistake", "text")]
        assert values == ["when2call_generation", "sft", "wrong value", "please"]
        assert page.locator("#detail").inner_text() == shown
        page.click("button[type=reset]")
        assert matches(page) == 240
        assert page.evaluate("() => location.hash") == "#examples"


@pytest.mark.parametrize(
    "fragment",
    [
        "#examples?benchmark=gone&by=gone&right=gone&gave=gone&mistake=gone&change=a>b>c>d&at=gone",
        "#examples?%",
        "#x?=&",
    ],
)
def test_an_address_of_another_run_shows_everything(open_page: Open, fragment: str) -> None:
    with open_page(1280, fragment) as page:
        assert matches(page) == 240


def test_calls_stand_side_by_side(open_page: Open) -> None:
    fragment = "#examples?benchmark=when2call_generation&mistake=wrong+value"
    with open_page(1280, fragment) as page:
        page.click("#row-0")
        assert page.locator(".calls thead th").all_inner_texts() == ["expected", "base", "sft", "dpo"]
        cells = page.locator(".calls tbody tr").nth(1).locator("td").all_inner_texts()
        assert cells[0].startswith("City ")
        assert cells[3].splitlines() == ["Rome", "wrong value"]
        assert page.locator(".answers .answer").count() == 3


def test_keys_move_through_the_questions(open_page: Open) -> None:
    with open_page(1280) as page:
        page.click("#row-2")
        for key, place in (("ArrowDown", 3), ("ArrowDown", 4), ("ArrowUp", 3)):
            page.keyboard.press(key)
            assert page.locator(f"#row-{place}").get_attribute("aria-selected") == "true"
        page.keyboard.press("Enter")
        for key, place in (("ArrowRight", 4), ("ArrowRight", 5), ("ArrowLeft", 4)):
            page.keyboard.press(key)
            assert f"Question {place}:" in page.locator("#detail").inner_text()
        page.keyboard.press("Escape")
        assert page.evaluate("() => document.activeElement.id") == "list"


def test_on_a_phone_the_answer_has_the_screen_to_itself(open_page: Open) -> None:
    def size(page: Any) -> list[float]:
        return page.evaluate("() => Object.values(document.getElementById('detail').getBoundingClientRect().toJSON())")[
            :4
        ]

    with open_page(390) as page:
        assert page.locator("#detail").is_hidden()
        page.evaluate("() => { document.getElementById('list').scrollTop = 64 * 100; }")
        page.click("#row-101")
        assert size(page) == [0, 0, 390, 900]
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
        page.click("button.next")
        assert "Question 102:" in page.locator("#detail").inner_text()
        page.wait_for_timeout(300)
        page.go_back()
        assert page.locator("#detail").is_hidden()
        assert page.evaluate("() => document.getElementById('list').scrollTop") == 64 * 100
        page.click("#row-102")
        page.click("button.back")
        page.locator("#detail").wait_for(state="hidden")
