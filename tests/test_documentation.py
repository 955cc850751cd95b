"""The documentation: links that lead somewhere, a README that can be read, formulas in the site."""

import importlib.util
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
README = REPOSITORY / "README.md"
PAGES = [*sorted(REPOSITORY.glob("*.md")), *sorted((REPOSITORY / "docs").glob("*.md"))]


def prose(page):
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def links(page):
    """Targets of links and pictures, those in HTML among them."""
    text = re.sub(r"`[^`\n]*`", "", prose(page))
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|srcset)="([^"]+)"', text)


def anchors(page):
    """Anchors that GitHub makes of a page's headings."""
    made = []
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        made.append(anchor + (f"-{made.count(anchor)}" if anchor in made else ""))
    return made


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    for link in links(page):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / unquote(path)) if path else page
        assert target.exists(), f"{page.name}: no {path}"
        assert not anchor or anchor in anchors(target), f"{page.name}: no heading for {link}"


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= 160


def test_the_readme_leads_to_every_page():
    found = {link.partition("#")[0] for link in links(README)}
    assert {str(page.relative_to(REPOSITORY)) for page in PAGES} - found == {"README.md"}


def test_the_readme_and_continuous_integration_run_the_same_tests():
    assert re.search(r"^make test\b", README.read_text(), re.MULTILINE)
    assert re.search(r"^make test$", (REPOSITORY / ".ci/run").read_text(), re.MULTILINE)


def test_the_commands_of_make_exist():
    targets = re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    for page in PAGES:
        for name in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE):
            assert name in targets, f"{page.name}: make {name}"


@pytest.fixture
def site():
    """The hooks of the site and a reader of Markdown that has them."""
    pytest.importorskip("mkdocs")
    pytest.importorskip("latex2mathml")
    from markdown import Markdown

    found = importlib.util.spec_from_file_location("hooks", REPOSITORY / "docs/site_hooks.py")
    hooks = importlib.util.module_from_spec(found)
    found.loader.exec_module(hooks)
    return hooks, Markdown(extensions=[hooks._Formulas()])


@pytest.mark.parametrize("written", ["$x_1$", "$`x_1`$"])
def test_formulas_become_mathml(site, written):
    assert "<msub><mi>x</mi><mn>1</mn></msub>" in site[1].convert(f"so {written} is")


@pytest.mark.parametrize("written", ["`$x$`", "5 $ and 6 $"])
def test_other_dollars_stay(site, written):
    assert "<math" not in site[1].convert(written)


def test_pages_of_the_root_are_linked_as_pages_of_the_site(site):
    text = '[a](docs/data.md#x) [b](CONTRIBUTING.md) <img src="docs/a.svg">'
    expected = '[a](data.md#x) [b](contributing.md) <img src="a.svg">'
    assert site[0]._root_links(text) == expected
    assert site[0].on_page_markdown("[r](../README.md#two)") == "[r](index.md#two)"
