"""The page of trust holds the counts of results/faults/."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/trust.md").read_text()
KINDS = json.loads((ROOT / "results/faults/report.json").read_text())["kinds"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_fault_has_its_row(kind):
    found = KINDS[kind]
    assert f"| {kind} | {found['tried']} | {found['held']} | {found['tried'] - found['held']} |" in PAGE


def test_totals_are_those_of_the_rows():
    bad = [found for kind, found in KINDS.items() if "moment" not in kind]
    assert f"{sum(found['tried'] for found in bad):,} bad inputs" in PAGE
    wanted = [f"{sum(found.get(name, 0) for found in bad)} {what}" for name, what in (
        ("tracebacks", "tracebacks"), ("silently_wrong", "silently wrong"), ("code_run", "code run"),
    )]  # fmt: skip
    assert ", ".join(wanted) in " ".join(PAGE.split())


def test_interruptions_are_counted():
    kills, signals = (KINDS[f"{name} at a random moment"]["interruptions"] for name in ("kill -9", "signal"))
    assert f"killed {kills} times and received {signals} signals" in " ".join(PAGE.split())


def test_deliberate_faults_are_counted():
    table = (ROOT / "results/faults/mutants.md").read_text()
    row = re.search(r"^\| all \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", table, re.MULTILINE)
    faults, caught, lived, not_run = map(int, row.groups())
    assert f"| faults in the code | {faults - not_run} | {caught} | {lived} |" in PAGE


def test_all_faults_are_run_at_least_95_of_100_are_caught_and_the_others_have_a_reason():
    table = (ROOT / "results/faults/mutants.md").read_text()
    row = re.search(r"^\| all \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", table, re.MULTILINE)
    faults, caught, lived, not_run = map(int, row.groups())
    assert not_run == 0
    assert caught >= 0.95 * faults
    reasons = re.findall(r"` \| (?:lived|undecided) \| ?(.*) \|$", table, re.MULTILINE)
    assert len(reasons) == lived
    assert all(reasons)
