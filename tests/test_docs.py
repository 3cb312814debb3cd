"""The documents: links lead somewhere, the README is short, and what it shows is there."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), ROOT / "llms.txt", *(ROOT / "docs").rglob("*.md"), *ROOT.glob("examples/**/*.md")])
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def without_code(page: Path) -> str:
    return re.sub(r"(?ms)^```.*?^```", "", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub makes them."""
    headings = re.findall(r"(?m)^#+ (.+)$", without_code(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def broken_links(page: Path, root: Path = ROOT) -> list[str]:
    broken = []
    for link in LINK.findall(without_code(page)):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.is_relative_to(root) or not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A b\n[one](#a-b) [two](#a-c) [three](nowhere.md)\n```\n[no](link.md)\n```\n", encoding="utf-8")
    assert broken_links(page, tmp_path) == ["#a-c", "nowhere.md"]


def test_every_guide_can_be_reached() -> None:
    guides = {page.name for page in (ROOT / "docs").glob("*.md")}
    index = (ROOT / "llms.txt").read_text(encoding="utf-8")
    assert [name for name in sorted(guides) if f"(docs/{name})" not in index] == []


def test_the_readme_is_short_and_its_picture_small() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
    assert 10_000 < (ROOT / "docs" / "images" / "report.png").stat().st_size < 200_000


def test_the_fallback_is_one_version() -> None:
    """Source without git and without an installation."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    fallback = project["tool"]["hatch"]["version"]["fallback-version"]
    assert f'__version__ = "{fallback}"' in (ROOT / "src" / "calltune" / "__init__.py").read_text(encoding="utf-8")
    assert f"version: {fallback}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
