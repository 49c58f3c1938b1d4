"""README and the pages of docs/ are right: every python block runs, page by page, in order, in an empty folder."""

import re
from pathlib import Path

import pytest

import pixelvae

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
BLOCK = re.compile(r"^(<!-- no-run -->\n)?```python([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text):
    """(line, source) of every python block that has no comment ``no-run`` on the line before it."""
    for match in BLOCK.finditer(text):
        if match[2].strip():  # the site would not recognise the block
            raise ValueError(f"python block marked {match[2].strip()!r}; wanted <!-- no-run --> on the line before it")
        if not match[1]:
            yield text[: match.start(3)].count("\n"), match[3]


def run(page):
    """All blocks in one namespace, as a notebook; a failing block is named by page and line."""
    namespace = {"__name__": "__main__"}
    for line, source in blocks(page.read_text()):
        exec(compile("\n" * line + source, page.name, "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(page)


def test_pages_that_hold_code_are_found():
    assert {"library", "own_decoder"} <= {page.stem for page in PAGES if list(blocks(page.read_text()))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_of_a_page_lead_to_files(page):
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\((?!http)([^)#]+)\)", prose)
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_a_block_that_fails_is_seen(tmp_path):
    """The law can fail, and names the line."""
    page = tmp_path / "page.md"
    page.write_text(
        "text\n\n<!-- no-run -->\n```python\n1 / 0\n```\n\n```python\na = 1\n```\n\n```python\nassert a == 2\n```\n"
    )
    with pytest.raises(AssertionError) as caught:
        run(page)
    assert (str(caught.traceback[-1].path), caught.traceback[-1].lineno + 1) == ("page.md", 13)


def test_the_build_of_the_pages_counts_its_warnings():
    """``mkdocs build --strict`` fails on warnings, but not on those that ``--quiet`` hides."""
    (build,) = re.findall(r"mkdocs build .*", (ROOT / "Makefile").read_text())
    assert "--strict" in build
    assert "-q" not in build


def test_the_page_of_the_api_has_every_public_name():
    assert sorted(re.findall(r"^::: pixelvae\.(\w+)$", (ROOT / "docs/api.md").read_text(), re.MULTILINE)) == sorted(
        set(pixelvae.__all__) - {"__version__"}
    )
