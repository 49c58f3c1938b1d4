"""`import pixelvae` costs little beyond torch's own import: what is slow is imported where it is used."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
SLOW = (
    "torch._dynamo", "torch._inductor", "sympy", "torchvision", "matplotlib", "tensorboard", "torch.utils.tensorboard",
    "sklearn", "scipy", "pandas", "mlxtend", "numba", "jsonargparse",
)  # fmt: skip
TRAINING = "import pixelvae.training.loop, pixelvae.evaluation.bounds, pixelvae.checkpoint"
RECURRENT = """
import torch
from pixelvae import DataSpec, RowLSTM
spec = DataSpec((1, 4, 4), levels=2)
RowLSTM(spec, 1, 0, num_layers=1, channels=2)(torch.zeros(1, 1, 4, 4, dtype=torch.long)).sum().backward()
"""


def slow_modules_after(source):
    """Those of ``SLOW`` that a new process has imported after the source."""
    script = f"{source}\nimport sys\nprint(*[name for name in {SLOW!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    "source",
    ["import pixelvae", TRAINING, "import pixelvae.evaluation.metrics", RECURRENT],
    ids=["package", "training", "evaluation", "recurrent"],
)
def test_nothing_slow_is_imported(source):
    assert slow_modules_after(source) == []


def test_a_slow_import_is_seen():
    """The law can fail."""
    assert "torch._dynamo" in slow_modules_after("import torch\ntorch.compiler.disable(print)")
