"""A page of HTML treats all that it shows as text."""

from balanced import Balanced
from pixelvae.reporting.page import Picture, Run, page


def test_what_is_written_is_shown_and_never_run():
    """Names, metrics, captions and configurations are text."""
    bad = "<script>alert(1)</script>"
    given = Run(bad, {bad: bad}, {}, [Picture(bad + '"', b"")], bad, bad, {"Curves": bad})
    parsed = Balanced(page(given))
    assert "script" not in parsed.tags
    assert " ".join(parsed.text).count(bad) == 8
