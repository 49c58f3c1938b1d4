"""The fused layer against the plain one: float64 is the reference, and bfloat16 autocast the tolerance of rounding."""

from copy import deepcopy
from functools import partial
from itertools import product

import pytest
import torch

from pixelvae import Categorical, VectorContext
from pixelvae.data import Batches, DataSpec
from pixelvae.decoders.gated_pixelcnn import GatedPixelCNN
from pixelvae.distributed import World
from pixelvae.evaluation.bounds import evaluate_bound
from pixelvae.models.pixelvae import AutoregressiveModel
from pixelvae.nn import fused_gated
from pixelvae.nn.causal import channel_mask
from pixelvae.nn.fused_gated import Projection
from pixelvae.nn.gated import GatedLayer, fuse
from pixelvae.training.objective import Objective
from pixelvae.training.options import TrainingOptions
from pixelvae.training.trainer import Trainer
from small_runs import small_data

pytestmark = pytest.mark.skipif(fused_gated.library() is None, reason="needs AVX-512 BF16 and a C++ compiler")
UNITS = [False, True] if torch.cpu._is_amx_tile_supported() else [False]
autocast = partial(torch.autocast, "cpu", torch.bfloat16)
B, D = 3, 16
WINDOWS = {"2x3": (2, 3, 2), "1x1": (1, 1, 1), "4x7": (4, 7, 4), "3x5": (3, 5, 1)}


@pytest.fixture(params=UNITS, ids=lambda amx: "AMX" if amx else "AVX-512")
def unit(request, monkeypatch):
    """Every unit of this CPU that multiplies bfloat16."""
    monkeypatch.setattr(fused_gated, "library", lambda: fused_gated.compiled(amx=request.param))


def contexts(kind, p, sites):
    """Leaves of both contexts: none, two vectors, or a map with two weights."""
    if kind == "number":
        return []
    if kind == "vector":
        return [*torch.randn(2, B, 2 * p, 1, 1)]
    width = D if kind == "map" else 5  # which is no whole tile
    return [torch.randn(B, width, *sites), *(torch.randn(2, 2 * p, width) / 4)]


def outcome(layer, v, h, leaves, kind, weights):
    """The outputs, and the gradients of everything, all in float64. ``weights`` of the outputs make the scalar."""
    dtype = next(layer.parameters()).dtype
    v, h = (x.to(dtype).clone().requires_grad_(not layer.first) for x in (v, h))
    leaves = [x.to(dtype).clone().requires_grad_() for x in leaves]
    if kind in ("map", "narrow map"):
        given = [Projection(leaves[0], weight) for weight in leaves[1:]]
    else:
        given = leaves or [0.0, 0.0]
    with autocast(enabled=dtype == torch.float32):
        outputs = layer(v, h, *given)
    outputs = outputs[2:] if layer.out is None else outputs
    torch.autograd.backward(outputs, [w.to(y.dtype) for w, y in zip(weights, outputs, strict=False)])
    inputs = [*leaves] if layer.first else [v, h, *leaves]
    return [x.detach().double() for x in (*outputs, *(x.grad for x in (*inputs, *layer.parameters())))]


def errors(found, truth):
    return [float((a - b).norm() / b.norm()) for a, b in zip(found, truth, strict=True)]


CASES = [
    *product(["2x3"], ["number", "vector", "map", "narrow map"], [16, 32], [(7, 9)], [False, True], [False, True]),
    *product(WINDOWS, ["vector"], [16], [(4, 4), (28, 28), (3, 40)], [False, True], [False]),
    *product(["2x3"], ["map"], [48], [(32, 33)], [False], [False]),
]


@pytest.mark.usefixtures("unit")
@pytest.mark.parametrize(("window", "kind", "p", "sites", "first", "last"), CASES)
def test_it_is_the_layer_within_rounding(window, kind, p, sites, first, last):
    """Outputs and every gradient are as near to float64 as bfloat16 autocast is, with and without a mask."""
    rows, columns, taps = WINDOWS[window]
    mask = None if p == 32 else channel_mask(p, p, 2, strict=False)
    layer = GatedLayer(
        2 if first else p, p, rows=rows, columns=columns, taps=taps, mask=mask, first=first, last=last
    ).to(memory_format=torch.channels_last)
    v, h = torch.randn(2, B, 2 if first else p, *sites)
    leaves = contexts(kind, p, sites)
    weights = torch.randn(1 if last else 3, B, p, *sites)
    truth = outcome(deepcopy(layer).double(), v, h, leaves, kind, weights)
    plain = errors(outcome(deepcopy(layer), v, h, leaves, kind, weights), truth)
    fuse(layer)
    assert layer.fused
    fused = errors(outcome(layer, v, h, leaves, kind, weights), truth)
    assert all(a < 0.004 + 1.3 * b for a, b in zip(fused, plain, strict=True)), (fused, plain)
    assert max(fused) < 0.015


def network(context_dim=0, **options):
    options = {"num_layers": 4, "channels": 16, "first_kernel_size": 3} | options
    return GatedPixelCNN(DataSpec((1, 8, 8), levels=2), 1, context_dim, **options)


@pytest.mark.usefixtures("unit")
@pytest.mark.parametrize("kind", ["vector", "map"])
def test_results_do_not_depend_on_threads_nor_on_the_run(kind, threads):
    """Bit for bit, forward and backward."""
    layer = GatedLayer(16, 16, rows=2, columns=3, taps=2, mask=None)
    fuse(layer)
    v, h = torch.randn(2, B, 16, 5, 6)
    leaves, weights = contexts(kind, 16, (5, 6)), torch.randn(3, B, 16, 5, 6)
    results = []
    for n in (1, 1, 2, 3):
        threads(n)
        results.append(outcome(deepcopy(layer), v, h, leaves, kind, weights))
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(other, results[0], strict=True))


@pytest.fixture
def threads():
    yield torch.set_num_threads
    torch.set_num_threads(1)


def step(decoder, run, x, context):
    """Params and gradients."""
    decoder.zero_grad()
    with autocast():
        params = run(x, context)
    params.square().sum().backward()
    return [params.detach(), *(p.grad.clone() for p in decoder.parameters())]


@pytest.mark.parametrize("size", [(), (8, 8)])
@pytest.mark.parametrize("options", [{}, {"receptive_field": 2}, {"num_layers": 1}])
def test_decoder_with_fused_layers_is_the_decoder(size, options):
    """Every option of the network, its context a vector or a map that the layers project themselves."""
    decoder, x, context = network(D, **options), torch.randint(0, 2, (5, 1, 8, 8)), torch.randn(5, D, *size)
    plain = step(decoder, decoder, x, context)
    exact = deepcopy(decoder).double()
    exact(x, context.double()).square().sum().backward()
    fuse(decoder)
    assert all(layer.fused for layer in decoder.layers)
    fused = step(decoder, decoder, x, context)
    truth = [p.grad for p in exact.parameters()]
    pairs = zip(errors(fused[1:], truth), errors(plain[1:], truth), strict=True)
    assert all(a < 0.01 + 1.3 * b for a, b in pairs)


def test_nothing_changes_without_autocast_or_gradients():
    """Evaluation, sampling and float32 training are those of the plain layers, bit for bit."""
    decoder, x = network(), torch.randint(0, 2, (5, 1, 8, 8))
    before = decoder(x)
    with autocast(), torch.no_grad():
        with_rounding = decoder(x)
    fuse(decoder)
    assert torch.equal(decoder(x), before)
    with autocast(), torch.no_grad():
        assert torch.equal(decoder(x), with_rounding)


def test_inputs_of_a_first_layer_that_are_no_data_get_their_gradient():
    """The native code has no gradient for them, so plain torch computes that layer."""
    layer = GatedLayer(2, 16, rows=1, columns=3, taps=1, mask=None, first=True)
    fuse(layer)
    v, h = torch.randn(2, B, 2, 5, 6).requires_grad_()
    with autocast():
        outputs = layer(v, h, 0.0, 0.0)
    found = torch.autograd.grad(sum(y.float().sum() for y in outputs), [v, h])
    assert all(x.abs().sum() > 0 for x in found)


def test_other_sizes_and_ordered_colours_train_unfused():
    """Channels that are no whole tiles are left alone; the first layer too, where colours add a map to its gates."""
    spec = DataSpec((3, 8, 8), levels=4)
    odd, colours = network(channels=24), GatedPixelCNN(spec, 12, num_layers=2, channels=48, head_channels=66)
    fuse(odd)
    fuse(colours)
    assert not any(layer.fused for layer in odd.layers)
    x = torch.randint(0, 4, (2, 3, 8, 8))
    fused = step(colours, colours, x, None)
    for layer in colours.layers:
        layer.fused = False
    plain = step(colours, colours, x, None)
    assert max(errors(fused, plain)) < 0.03


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # opcheck looks at it
@pytest.mark.parametrize("last", [False, True])
def test_torch_compile_sees_one_graph(last):
    """The operators have shapes for torch.compile and registered gradients, by torch's own checks."""
    p = 16
    none = torch.zeros(0)
    weights = [torch.randn(2 * p, 2, 3, p), torch.randn(2 * p, 1, 2, p), torch.randn(2 * p, 2 * p)]
    weights += [none if last else torch.randn(p, p), none, none, *torch.randn(2, B, 2 * p)]
    inputs = [*torch.randn(2, B, p, 4, 4).bfloat16(), none, *weights, none if last else torch.randn(p)]
    inputs = [x.clone().requires_grad_(x.numel() > 0) for x in inputs]
    tests = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_static")
    torch.library.opcheck(fused_gated.gated, (*inputs, [2, 3, 2, False, last]), test_utils=tests)


@pytest.mark.parametrize("size", [(), (8, 8)])
def test_compiled_whole_it_gives_the_same(size):
    """The graph of the decoder does not break at the operators."""
    decoder, x, context = network(D), torch.randint(0, 2, (5, 1, 8, 8)), torch.randn(5, D, *size)
    fuse(decoder)
    compiled = torch.compile(decoder, backend="aot_eager", fullgraph=True)
    found, wanted = step(decoder, compiled, x, context), step(decoder, decoder, x, context)
    assert max(errors(found, wanted)) < 0.01


def test_equal_nats_after_equal_steps():
    """Training with and without fused layers ends at the same test ELBO."""
    data, world, elbo = small_data(), World(torch.device("cpu")), {}
    for fused in (False, True):
        torch.manual_seed(0)
        spec = data.spec._replace(num_classes=())
        decoder = partial(GatedPixelCNN, num_layers=4, channels=16, first_kernel_size=3)
        model = AutoregressiveModel(spec, likelihood=Categorical, decoder=decoder, context=VectorContext)
        options = TrainingOptions(steps=150, batch_size=32, precision="bf16-mixed", compile="never")
        trainer = Trainer(model, options, Objective(), world, seed=0)
        for layer in model.decoder.layers:
            assert layer.fused
            layer.fused = fused
        keys = iter(Batches(len(data.train), 32, seed=0))
        for _ in range(options.steps):
            trainer.update(*data.train[next(keys)])
        elbo[fused] = evaluate_bound(trainer.averaged_model, data.test, seed=0, world=world).elbo
    assert abs(elbo[True] - elbo[False]) < 0.02
