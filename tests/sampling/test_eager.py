"""The eager executor: a row that is recorded and replayed is the row itself; it never waits for the device."""

from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from families import DECODERS, by_name, random_levels
from pixelvae import Categorical, DataSpec, DiscretizedLogisticMixture, GatedPixelCNN
from pixelvae.sampling import rows
from pixelvae.sampling.eager import EagerPlan, EagerWeights
from pixelvae.walk import draw, fill

aten = torch.ops.aten
WAITS = (aten._local_scalar_dense, aten.item, aten.is_nonzero, aten.nonzero, aten.equal)  # for values of the device
CONTEXT_DIM = 2
every_decoder = pytest.mark.parametrize("case", **by_name(DECODERS))
every_context = pytest.mark.parametrize("kind", ["none", "vector", "map"])


class Recording(TorchDispatchMode):
    """A stand-in for a CUDA graph: the operations of some work, on the memory that they ran on.

    Like a graph, a replay reads and writes the same memory and runs no Python of the work.
    """

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        is_mask = operation is aten.index.Tensor and any(i is not None and i.dtype == torch.bool for i in args[1])
        waits = is_mask or operation.overloadpacket in WAITS
        assert not waits, f"{operation} waits for the device"
        result = operation(*args, **(kwargs or {}))
        self.operations.append((operation, args, kwargs or {}, result))
        return result

    def replay(self):
        for operation, args, kwargs, result in self.operations:
            again = operation(*args, **kwargs)
            if isinstance(again, torch.Tensor) and again.data_ptr() != result.data_ptr():
                result.copy_(again)


@pytest.mark.parametrize("grad_mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize(
    "work",
    [
        lambda a: float(a.sum()),
        lambda a: bool(a[0] > 0),
        torch.nonzero,
        lambda a: torch.equal(a, a),
        lambda a: a[a > 0],
    ],
)
def test_a_recording_refuses_work_that_waits(work, grad_mode):
    """Inference mode has operations of its own for the same reads."""
    a = torch.ones(3)
    with grad_mode(), Recording(), pytest.raises(AssertionError, match="waits for the device"):
        work(a)


def record(work, replayed):
    recording = Recording()
    with recording:
        work()

    def replay():
        replayed.append(len(recording.operations))
        recording.replay()

    return replay


def walked(decoder, likelihood, context, u, temperature=1.0, **options):
    def choose(params, x_site, channel, u):
        pmf = likelihood.pmf(params, x_site, channel)
        return pmf, draw(pmf, u, temperature)

    return rows.fill(EagerPlan(EagerWeights(decoder.plan()), context, len(u)), choose, u, **options)


def make(case, kind):
    spec = case.spec
    num_params = spec.channels * (1 if spec.levels == 2 else spec.levels)
    context = None if kind == "none" else torch.randn(3, CONTEXT_DIM, *(spec.sites if kind == "map" else ()))
    decoder = case.make(spec, num_params, 0 if context is None else CONTEXT_DIM).requires_grad_(False)
    return decoder, Categorical(spec), context


@every_decoder
@every_context
@torch.inference_mode()
def test_a_replayed_row_is_the_row(case, kind):
    """All rows but the first replayed, where the rings come round soon: the same bits as without a recording."""
    decoder, likelihood, context = make(case, kind)
    context = decoder.plan_context(context, 3)
    u, x, replayed = torch.rand(3, *case.spec.shape), random_levels(3, case.spec), []
    known = torch.rand(u.shape) < 0.3
    direct, again = (
        walked(decoder, likelihood, context, u, x=x, known=known, record=recorded)
        for recorded in (None, partial(record, replayed=replayed))
    )
    assert torch.equal(direct.x, again.x)
    assert torch.equal(direct.log_p, again.log_p)
    height = decoder.plan().height
    few = EagerPlan(EagerWeights(decoder.plan()), context, 3).period <= rows.MOST_GRAPHS
    assert len(replayed) == (height - 1 if few else 0)


@every_decoder
@every_context
@torch.inference_mode()
def test_rows_equal_forward(case, kind):
    """Levels that are given: log p of each is the likelihood's of a forward pass."""
    decoder, likelihood, context = make(case, kind)
    x = random_levels(3, case.spec)
    known = torch.ones_like(x, dtype=torch.bool)
    scored = fill(decoder, likelihood, context, torch.zeros(x.shape), x=x, known=known, stepper="eager")
    assert torch.equal(scored.x, x)
    expected = likelihood.log_prob(decoder(x, context), x)
    torch.testing.assert_close(scored.log_p.sum(1), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
@torch.inference_mode()
def test_a_mixture_never_waits(temperature):
    """The other likelihood, greedy and not."""
    spec = DataSpec((3, 7, 4), 16)
    likelihood = DiscretizedLogisticMixture(spec, num_components=3)
    decoder = GatedPixelCNN(spec, likelihood.num_params, num_layers=2, channels=6, channel_masked=False)
    replayed = []
    assert (
        walked(
            decoder, likelihood, None, torch.rand(2, 3, 7, 4), temperature, record=partial(record, replayed=replayed)
        )
        .x.unique()
        .numel()
        > 1
    )
    assert len(replayed) == 6


@torch.inference_mode()
def test_products_allocate_nothing(monkeypatch):
    """After the rings came round once, sites are computed in memory that is there already."""
    decoder, _, _ = make(next(c for c in DECODERS if c.spec.channels == 1 and len(c.spec.shape) == 3), "none")
    plan = EagerPlan(EagerWeights(decoder.plan()), None, 3)

    def row():
        plan.begin_row()
        params = [plan.site(column) for column in range(plan.plan.width)]
        plan.end_row()
        return params

    before, now = row(), row()
    assert [p.data_ptr() for p in before] == [p.data_ptr() for p in now]
    recording = Recording()
    with recording:
        row()
    views = ("view", "as_strided", "slice", "select", "detach", "alias")
    made = {str(op) for op, args, kwargs, result in recording.operations if "out" not in kwargs}
    assert all(name.split(".")[1].endswith("_") or name.split(".")[1] in views for name in made), made
