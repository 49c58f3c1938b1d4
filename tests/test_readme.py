"""What README says is so: its numbers stand in results/, its files exist, and every file has its line."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
ROWS = re.findall(r"^\|.*\]\((results/\S+/metrics\.json)\).*\|$", README, re.MULTILINE)


def numbers(row):
    """The numbers of a table's row, in order."""
    return [float(n.replace(",", "")) for n in re.findall(r"(?<=\| )[0-9][0-9.,]*(?= )", row)]


def test_there_is_a_table_of_results():
    assert len(ROWS) >= 4


@pytest.mark.parametrize("path", ROWS)
def test_a_row_of_the_table_says_what_its_metrics_say(path):
    metrics = json.loads((ROOT / path).read_text())
    row = next(line for line in README.splitlines() if path in line)
    expected = [
        round(-metrics["elbo_nats"], 2),
        round(metrics["bits_per_dim"], 3),
        round(metrics.get("nll_iwae_nats", -metrics["elbo_nats"]), 2),
        round(metrics["kl_nats"], 2),
        metrics["num_parameters"],
    ]
    assert numbers(row) == expected


@pytest.mark.parametrize("path", sorted((ROOT / "results").glob("**/metrics.json")), ids=lambda p: p.parent.name)
def test_a_result_says_how_it_was_made(path):
    metrics = json.loads(path.read_text())
    assert {"elbo_nats", "bits_per_dim", "num_test_images", "command", "seed", "images_seen"} <= set(metrics)
    assert (path.parent / "environment.txt").is_file()


def test_every_picture_and_file_that_is_linked_exists():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_file_has_its_line():
    files = [*ROOT.glob("pixelvae/**/*.py"), *ROOT.glob("scripts/*.py")]
    names = [path.name for path in files if path.name != "__init__.py"]
    assert [name for name in names if name not in README] == []
