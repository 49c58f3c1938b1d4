"""The summary at the end of the suite counts laws and cases."""

from collections import namedtuple

import conftest

Report = namedtuple("Report", "nodeid when")


class Reporter:
    """Three cases of two laws, and a set-up."""

    def __init__(self):
        self.lines = []
        self.write_line = self.lines.append

    def getreports(self, kind):
        names = {
            "passed": ["a.py::test_a[1]", "a.py::test_a[2]"],
            "failed": ["b.py::test_b"],
            "skipped": ["b.py::test_c"],
        }
        return [Report(name, "call") for name in names[kind]] + [Report("a.py::test_a[1]", "setup")]


def test_laws_and_cases_are_counted():
    reporter = Reporter()
    conftest.pytest_terminal_summary(reporter)
    assert reporter.lines == ["2 laws in 3 cases"]
