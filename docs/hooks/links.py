"""Links of pages to files outside docs/, such as ``../results/boundary.md``: the files are copied into the site."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

LINK = re.compile(r"\]\(\.\./([^)#\s]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add every linked file of the repository; folders have no page."""
    root = Path(config.docs_dir).parent
    for page in list(files.documentation_pages()):
        for name in LINK.findall(page.content_string):
            if (root / name).is_file() and files.get_file_from_path(name) is None:
                copy = File.generated(config, name, abs_src_path=str(root / name), inclusion=InclusionLevel.NOT_IN_NAV)
                files.append(copy)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point the links of pages of docs/ to the copies."""
    return LINK.sub(r"](\1", markdown) if page.file.generated_by is None else markdown
