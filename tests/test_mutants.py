"""The list of deliberate faults cannot rot: every fault is at one place, and its tests are there."""

from pathlib import Path

import pytest

from load_script import load_script

mutants = load_script("mutants")
FAULTS = mutants.read_faults()
TESTS = Path(__file__).parent


def test_every_text_occurs_exactly_once_in_its_file():
    assert [problem for fault in FAULTS if (problem := mutants.misplaced(fault))] == []


def test_there_are_many_different_faults_in_all_parts_of_the_package():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 120
    parts = {fault.file.split("/")[1] for fault in FAULTS if fault.file.startswith("pixelvae/")}
    folders = {path.parent.name for path in (TESTS.parent / "pixelvae").glob("*/__init__.py")}
    assert folders - parts == set()


def test_the_tests_of_every_fault_are_there():
    missing = []
    for test in {test for fault in FAULTS for test in fault.tests}:
        file, *names = test.split("::")
        text = (TESTS / file).read_text() if (TESTS / file).is_file() else ""
        missing += [test for name in names or [""] if not text or name not in text]
    assert missing == []


def test_a_text_that_is_gone_is_one_clear_line():
    gone = FAULTS[0]._replace(text="no such text")
    assert mutants.misplaced(gone).endswith(f"{gone.file} holds 'no such text' 0 times; wanted it once")


@pytest.mark.slow
def test_a_caught_a_living_and_an_undecided_fault_are_told_apart(tmp_path):
    """In a repository of one module and one test."""
    copy = tmp_path / "copy"
    (copy / "tests").mkdir(parents=True)
    (copy / "one.py").write_text("ONE, TWO = 1, 2\n")
    (copy / "tests/test_one.py").write_text("def test_one():\n    import one\n    assert one.ONE == 1\n")
    cases = {"ONE, TWO = 2, 2": "caught", "ONE, TWO = 1, 3": "lived"}
    for replacement, outcome in cases.items():
        fault = mutants.Fault("part", "one.py", "ONE, TWO = 1, 2", replacement, ("test_one.py",))
        found = mutants.outcome_of(copy, fault)
        assert (found["outcome"], "test_one" in found["by"]) == (outcome, outcome == "caught")
        assert (copy / "one.py").read_text() == "ONE, TWO = 1, 2\n"
    fault = mutants.Fault("part", "one.py", "ONE", "TWO", ("test_none.py",))
    assert mutants.outcome_of(copy, fault)["outcome"] == "undecided"


def test_tests_that_fail_without_a_fault_are_an_error(tmp_path):
    copy = tmp_path / "copy"
    (copy / "tests").mkdir(parents=True)
    (copy / "tests/test_red.py").write_text("def test_red():\n    assert False\n")
    fault = mutants.Fault("part", "file", "a", "b", ("test_red.py",))
    with pytest.raises(ValueError, match=r"do not pass without a fault: test_red\.py::test_red"):
        mutants.require_passing(copy, [fault])
