"""Docstrings of the package and the scripts are plain: short sentences, no personification."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = [path for folder in ("pixelvae", "scripts") for path in sorted((ROOT / folder).rglob("*.py"))]
FIGURES = re.compile(r"\b(told|hears?|deaf|knows?|nobody|somebody)\b", re.IGNORECASE)
LONGEST = 30  # words of a sentence; CONTRIBUTING asks for 20


def docstrings(source):
    """The prose of every docstring, without its example."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield re.split(r"\n\s*Example:", ast.get_docstring(node) or "")[0]


def offences(source):
    """Figures of speech, and sentences that are too long. A formula or a list of references is no sentence."""
    for text in docstrings(source):
        yield from FIGURES.findall(text)
        for paragraph in re.split(r"\n\s*\n|\n\s*\w[\w, ]*: ", text):
            if ".. math" not in paragraph and "http" not in paragraph:
                sentences = re.split(r"(?<=[.;:])\s+", " ".join(paragraph.split()))
                yield from (sentence for sentence in sentences if len(sentence.split()) > LONGEST)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_docstrings_are_plain(path):
    assert list(offences(path.read_text())) == []


def test_an_offence_is_seen():
    """The law can fail."""
    assert list(offences('def f():\n    """A decoder that is deaf to h."""')) == ["deaf"]
    assert len(list(offences(f'"""{"word " * 31}."""'))) == 1
    assert list(offences('"""Words."""')) == []
