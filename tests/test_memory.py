"""The memory of freed tensors is reused: large allocations that are repeated cost no page faults."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator of glibc"),
    pytest.mark.slow,
]
TESTS = Path(__file__).parent
SCRIPT = """
import resource, sys, torch
from pathlib import Path
from pixelvae.distributed import World, connect
from pixelvae.evaluation.bounds import evaluate_bound, evaluate_importance_weighted
from pixelvae.memory import keep_freed_memory
from small_runs import small_data, small_fit, small_model

torch.set_num_threads(1)
world, out = World(torch.device("cpu")), Path(sys.argv[1])
{start}
for _ in range(3):  # the heap grows to what it needs
    torch.ones(1 << 24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(1 << 24)  # 64 MB, 16,384 pages
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 10)
"""


def faults_of_an_allocation(start, tmp_path):
    """Page faults of each of ten allocations of 16,384 pages in a new process that began with ``start``."""
    environment = os.environ | {"PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}
    command = [sys.executable, "-c", SCRIPT.format(start=start), str(tmp_path)]
    return int(subprocess.run(command, check=True, env=environment, capture_output=True, text=True).stdout)


@pytest.mark.parametrize(
    "start",
    [
        "assert keep_freed_memory()",
        "connect('cpu')",
        "small_fit(out, steps=1)",
        "evaluate_bound(small_model(), small_data().test, seed=0, world=world)",
        "evaluate_importance_weighted(small_model(), small_data().test, num_samples=1, seed=0, world=world)",
    ],
)
def test_whatever_starts_work_keeps_freed_memory(tmp_path, start):
    assert faults_of_an_allocation(start, tmp_path) < 100


def test_imports_leave_the_allocator_alone(tmp_path):
    """Without the setting every allocation costs all of its pages, so the law above can fail."""
    assert faults_of_an_allocation("", tmp_path) > 16_000
