"""Docstrings in Markdown: their ``.. math::`` directives and Sphinx roles, for mkdocstrings."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Any

import griffe

MATH = re.compile(r"^( *)\.\. math::[ \t]*(.*(?:\n(?:\1[ \t]+.*|[ \t]*(?=\n\1[ \t]+)))*)", re.MULTILINE)
ROLE = re.compile(r":(?:class|func|meth|mod|attr):`~?([\w.]+)`")
INLINE = re.compile(r":math:`([^`]+)`")
log = logging.getLogger("mkdocs.docstrings")  # `mkdocs build --strict` counts its warnings


def markdown(text: str, public: dict[str, str]) -> str:
    """A docstring with display formulas, and with links to public names."""

    def formula(match: re.Match[str]) -> str:
        lines = [line.strip() for line in match[2].strip().splitlines() if line.strip()]
        if any("&" in line for line in lines):  # Sphinx aligns these by itself
            lines = [r"\begin{aligned}", *lines, r"\end{aligned}"]
        return "\n".join(f"{match[1]}{line}" for line in ["", "$$", *lines, "$$", ""])

    def link(match: re.Match[str]) -> str:
        name = match[1].rpartition(".")[2]
        return f"[`{name}`][{public[name]}]" if name in public else f"`{match[1]}`"

    return ROLE.sub(link, INLINE.sub(r"$\1$", MATH.sub(formula, text))).replace("``", "`")


def names(parent: Any) -> Iterator[str]:
    """Names of all functions, classes, methods and attributes of the package, private ones included."""
    for member in parent.members.values():
        yield member.name
        if not member.is_alias:
            yield from names(member)


class SphinxDirectives(griffe.Extension):
    """Rewrites every docstring of the package once it is loaded; a role without a target is a warning."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """All objects of the package."""
        exports = [str(name) for name in pkg.exports or []]
        public = {name: f"{pkg.path}.{name}" for name in exports}
        self._rewrite(pkg, public, set(names(pkg)))

    def _rewrite(self, parent: Any, public: dict[str, str], defined: set[str]) -> None:
        if parent.docstring is not None:
            for role in ROLE.finditer(parent.docstring.value):
                if role[1].rpartition(".")[2] not in defined:
                    log.warning("%s: %s has no target", parent.path, role[0])
            parent.docstring.value = markdown(parent.docstring.value, public)
        for member in parent.members.values():
            if not member.is_alias:
                self._rewrite(member, public, defined)
