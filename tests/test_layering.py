"""Who may import whom, and what no file may hold. Every offence is named with its place.

All imports count, inside functions and under TYPE_CHECKING too: see layers.py. ``pytest tests/test_layering.py -s``
shows floors and circles.
"""

import ast
import re
import tomllib
from itertools import pairwise

import pytest

from layers import FILES, ROOT, ROWS, circles, content_offences, floors, import_graph, import_offences, module_of

SOURCES = sorted([*FILES, *ROOT.glob("pixelvae/**/*.cpp"), *ROOT.glob("pixelvae/**/*.h")])
MAX_FLOORS, MAX_FILE = 7, 300


def package_graph():
    return import_graph((module_of(path), path.read_text()) for path in FILES)


def assert_none(offences):
    """Fails with path:line: offence, for all offences of all files."""
    found = []
    for path in FILES:
        tree = ast.parse(path.read_text(), path.name)
        unique = dict.fromkeys(offences(tree, module_of(path)))
        found += [f"{path.relative_to(ROOT)}:{line}: {what}" for line, what in unique]
    assert not found, "\n".join(["", *found])


def test_imports_go_down_only():
    """From commands to data, nn and sampling; nouns do not import each other, nothing imports the package itself."""
    assert_none(import_offences)


def test_floors_and_circles():
    """At most seven floors, no circle of files. ``-s`` shows them."""
    graph = package_graph()
    found, rings = floors(graph), circles(graph)
    tower = [f"floor {number}: {', '.join(found[number - 1])}" for number in range(len(found), 0, -1)]
    rings_named = [f"circle: {' <-> '.join(ring)}" for ring in rings]
    report = "\n".join(["", *tower, f"{len(found)} floors, {len(rings)} circles in {len(graph)} files", *rings_named])
    print(report)
    assert len(found) <= MAX_FLOORS, report
    assert not rings, report


def test_no_file_holds_what_style_forbids():
    """No .cuda(), hasattr, global, bare except, print in the package; no function over 50 lines."""
    assert_none(content_offences)


def test_files_fit_on_a_few_screens():
    """At most 300 lines."""
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in SOURCES}
    long = [f"{path}: {length} lines, more than {MAX_FILE}" for path, length in lengths.items() if length > MAX_FILE]
    assert not long, "\n".join(["", *long])


def test_numba_is_no_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project.get("optional-dependencies", {})
    wanted = [*project["dependencies"], *(name for names in extras.values() for name in names)]
    assert [name for name in wanted if re.match("numba|llvmlite", name)] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("pixelvae.decoders.base", "from pixelvae.likelihoods import Categorical"),
        ("pixelvae.decoders.base", "from pixelvae import likelihoods"),
        ("pixelvae.decoders.base", "import pixelvae.models.base as m"),
        ("pixelvae.decoders.base", "def f():\n    from pixelvae.generation import walk"),
        ("pixelvae.decoders.base", "from pixelvae import GatedPixelCNN"),
        (
            "pixelvae.sampling.stepper",
            "if TYPE_CHECKING:\n    from pixelvae.decoders.base import AutoregressiveDecoder",
        ),
        ("pixelvae.sampling.stepper", "from pixelvae.likelihoods import Categorical"),
        ("pixelvae.nn.causal", "from pixelvae.data.spec import DataSpec"),
        ("pixelvae.latents.encoders", "from pixelvae.context import VectorContext"),
        ("pixelvae.latents.encoders", "def f():\n    from pixelvae.decoders.base import AutoregressiveDecoder"),
        ("pixelvae.likelihoods", "from pixelvae.latents.distributions import DiagonalNormal"),
        ("pixelvae.models.base", "from pixelvae.checkpoint import load"),
        ("pixelvae.checkpoint", "def f():\n    import pixelvae"),
        ("pixelvae.commands.sample", "from pixelvae import load"),
        ("pixelvae.evaluation.bounds", "from pixelvae.training.loop import fit"),
        ("pixelvae.training.loop", "if TYPE_CHECKING:\n    from pixelvae.reporting.figures import save_figure"),
        ("pixelvae.reporting.page", "from pixelvae.commands.evaluate import main"),
        ("pixelvae.generation", "from .models import PixelVAE"),
        ("pixelvae.generation", "from scripts import train"),
        ("scripts.baselines", "from scripts.evaluate import environment"),
        ("pixelvae.training.loop", "from torch.utils.tensorboard import SummaryWriter"),
        ("pixelvae.training.loop", "from torch.utils import tensorboard"),
        ("pixelvae.commands.train", "def f():\n    from tensorboard.backend import event_processing"),
        ("pixelvae.training.loop", "from torch import distributed"),
        ("pixelvae.training.loop", "import torch.distributed as dist"),
        ("pixelvae.training.loop", "import torch\ntorch.distributed.barrier()"),
        ("pixelvae.training.loop", "from torch.nn.parallel import DistributedDataParallel"),
        ("pixelvae.checkpoint", "import jsonargparse"),
        ("pixelvae.checkpoint", "from importlib import import_module"),
        ("pixelvae.checkpoint", "import importlib\nimportlib.import_module('pixelvae.training')"),
        ("pixelvae.checkpoint", "__import__('pixelvae.training')"),
        ("pixelvae.sampling.engine", "try:\n    import numba\nexcept ImportError:\n    pass"),
        ("pixelvae.sampling.engine", "from llvmlite import ir"),
        ("pixelvae.utils", ""),
    ],
)
def test_a_forbidden_import_is_seen(module, source):
    """The law can fail."""
    assert len(set(import_offences(ast.parse(source), module))) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("pixelvae", "from pixelvae.models.pixelvae import PixelVAE"),
        ("scripts.baselines", "import jsonargparse\nfrom pixelvae import load"),
        ("pixelvae.commands.cli", "import importlib\nimportlib.import_module('pixelvae.commands.train')"),
        ("pixelvae.reporting.tensorboard", "from pixelvae.training.loop import Observer"),
        ("pixelvae.reporting.tensorboard", "from torch.utils.tensorboard import SummaryWriter"),
        ("pixelvae.models.base", "from pixelvae.generation import walk"),
        ("pixelvae.decoders.pixelcnn", "from pixelvae.sampling.plan import Plan"),
        ("pixelvae.sampling.engine", "from pixelvae.storage import write_atomically"),
    ],
)
def test_an_import_that_goes_down_is_allowed(module, source):
    assert list(import_offences(ast.parse(source), module)) == []


def test_a_circle_is_seen_wherever_its_imports_stand():
    """The law can fail."""
    files = {
        "pixelvae.nn.a": "import torch\nfrom pixelvae.nn.b import B",
        "pixelvae.nn.b": "def f():\n    from pixelvae.nn.c import C",
        "pixelvae.nn.c": "if TYPE_CHECKING:\n    from pixelvae.nn.a import A",
        "pixelvae.nn.d": "from pixelvae.nn.a import A",
        "pixelvae.models.e": "from pixelvae.nn.d import D",
    }
    graph = import_graph(files.items())
    assert circles(graph) == [["pixelvae.nn.a", "pixelvae.nn.b", "pixelvae.nn.c"]]
    assert circles({"pixelvae.nn.a": {"pixelvae.nn.a"}}) == [["pixelvae.nn.a"]]
    assert floors(graph) == [["nn"], ["models"]]


def test_floors_are_counted_by_the_longest_chain():
    """The law can fail: eight rows that all import the next are eight floors."""
    chain = [f"pixelvae.{row[0]}.file" for row in ROWS]
    graph = {upper: {lower} for upper, lower in pairwise(chain)} | {chain[-1]: set()}
    assert len(floors(graph)) == len(ROWS) > MAX_FLOORS
    graph["pixelvae.decoders.file"] = {"pixelvae.data.file"}  # then decoders stand beside the nouns
    graph["pixelvae.models.file"] |= {"pixelvae.latents.file"}
    assert len(floors(graph)) == MAX_FLOORS


@pytest.mark.parametrize(
    "source",
    [
        "x.cuda()",
        "hasattr(x, 'y')",
        "print(1)",
        "try:\n    f()\nexcept:\n    pass",
        "def f():\n    global x",
        "def f():\n" + "    x = 1\n" * 50,
    ],
)
def test_forbidden_content_is_seen(source):
    """The law can fail."""
    assert len(list(content_offences(ast.parse(source), "pixelvae.training.loop"))) == 1
