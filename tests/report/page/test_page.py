import base64
import hashlib
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from planted_run import HOSTILE_TOOL, plant_run, run_file

from calltune.config.run_file import load_config
from calltune.report.page.inert import json_for_page, visible
from calltune.verbs import report


class Elements(HTMLParser):
    """Every element that a browser would make, with its attributes, and the texts of scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": []}
        self._open = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag in self.inside:
            self._open = tag
            self.inside[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open:
            self.inside[self._open][-1] += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = plant_run(tmp_path_factory.mktemp("runs") / "toy")
    report.run(load_config(run_file(folder)))
    return folder


@pytest.fixture(scope="module")
def elements(folder: Path) -> Elements:
    found = Elements()
    found.feed((folder / "report.html").read_text())
    return found


def test_nothing_is_loaded_from_anywhere(elements: Elements) -> None:
    for tag, attributes in elements.found:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base")
        assert not {"src", "srcset", "action", "data", "poster"} & set(attributes)
        assert attributes.get("href", "#").startswith("#")
        # A style attribute or a handler would need a policy that allows any.
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
    assert "url(" not in elements.inside["style"][0]
    assert "@import" not in elements.inside["style"][0]


def test_the_policy_allows_the_page_s_own_style_and_script_alone(elements: Elements) -> None:
    (policy,) = [a["content"] for tag, a in elements.found if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for kind, text in (("style", elements.inside["style"][0]), ("script", elements.inside["script"][1])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_hostile_names_and_answers_make_no_element(folder: Path, elements: Elements) -> None:
    assert len(elements.inside["script"]) == 2
    assert not [tag for tag, _ in elements.found if tag == "img"]
    data = json.loads(elements.inside["script"][0])
    assert HOSTILE_TOOL in {name for name, _, _ in data["tools"]}
    page = (folder / "report.html").read_text()
    assert HOSTILE_TOOL not in page
    assert "\u202e" not in page
    assert "[U+202E]gnp.exe[U+202C]" in page
    # The template is filled in once; what looks like one in an answer is left as it is.
    assert any("{{ 7*7 }}" in text for text in data["texts"])


def test_a_screen_reader_finds_its_way(elements: Elements) -> None:
    tags = [tag for tag, _ in elements.found]
    assert (tags.count("main"), tags.count("h1"), tags.count("nav")) == (1, 1, 1)
    ids = [a["id"] for _, a in elements.found if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in elements.found:
        for name in ("aria-labelledby", "list", "for"):
            assert attributes.get(name, ids[0]) in ids
        href = attributes.get("href")
        # Behind a question mark stand the filters of the examples.
        assert href is None or href[1:].partition("?")[0] in ids
    assert next(a for tag, a in elements.found if tag == "a") == {"class": "skip", "href": "#main"}
    assert all("scope" in a for tag, a in elements.found if tag == "th")
    assert tags.count("svg") == tags.count("desc")


def test_headings_go_down_one_at_a_time(elements: Elements) -> None:
    levels = [int(tag[1]) for tag, _ in elements.found if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_every_plot_is_a_file_of_its_own(folder: Path) -> None:
    names = {path.stem for path in (folder / "report").glob("*.svg")}
    assert {"ladder-when2call", "change-when2call_generation", "calling-when2call", "training-dpo-loss"} <= names
    # A guard that was asked once has no curve.
    guarded = {name for name in names if "-guard-" in name}
    assert guarded == {"training-dpo-guard-behavior_accuracy", "training-dpo-guard-recall_tool_call"}
    drawn = (folder / "report" / "training-dpo-guard-behavior_accuracy.svg").read_text()
    assert "dpo: right behaviour ends at 0.5; exact calls ends at 0.25; malformed ends at 0" in drawn
    for path in (folder / "report").glob("*.svg"):
        root = ElementTree.fromstring(path.read_text())
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "nan" not in path.read_text()


def test_plots_of_an_earlier_report_go(folder: Path) -> None:
    (folder / "report" / "ladder-gone.svg").write_text("<svg/>")
    report.run(load_config(run_file(folder)))
    assert not (folder / "report" / "ladder-gone.svg").exists()


def test_the_same_run_gives_the_same_page(folder: Path) -> None:
    before = (folder / "report.html").read_bytes(), (folder / "report.json").read_bytes()
    report.run(load_config(run_file(folder)))
    assert ((folder / "report.html").read_bytes(), (folder / "report.json").read_bytes()) == before


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("naïve ✓ 漢字 🙂", "naïve ✓ 漢字 🙂"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("a\u202eb\u2066c", "a[U+202E]b[U+2066]c"),
        ("nul\x00 bell\x07 escape\x1b[31m", "nul[U+0000] bell[U+0007] escape[U+001B][31m"),
        ("half \ud83d", "half [U+D83D]"),
        ("zero\u200bwidth \ufeff", "zero[U+200B]width [U+FEFF]"),
        ("שלום 👩\u200d🚀", "שלום 👩\u200d🚀"),
    ],
)
def test_steering_characters_are_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_json_in_a_page_cannot_end_its_element() -> None:
    value = {"</script>": ["<!--", "-->", "a & b", "\u2028", "\ud800"]}
    text = json_for_page(value)
    assert not set("<>&\u2028\ud800") & set(text)
    assert json.loads(text) == {"</script>": ["<!--", "-->", "a & b", "[U+2028]", "[U+D800]"]}
