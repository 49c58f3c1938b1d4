"""Devices: every model on a pretended GPU, which refuses tensors of the CPU; copies, choice, rounding, compilation."""

import importlib.util
import os
import shutil
from functools import partial
from itertools import cycle

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from families import CONTEXTS, DECODERS, PRIORS, SMALL_CNN, SMALL_WAVENET, by_name, random_levels
from pixelvae import (
    AutoregressiveModel,
    Categorical,
    ConvEncoder,
    DiscretizedLogisticMixture,
    PixelVAE,
    SpatialContext,
    StandardNormal,
    TemporalContext,
    VectorContext,
    WaveEncoder,
)
from pixelvae.data.spec import ABSENT
from pixelvae.data.splits import Split
from pixelvae.devices import choose_device, send, send_levels, set_numerics
from pixelvae.distributed import World
from pixelvae.evaluation.bounds import evaluate_bound, evaluate_importance_weighted
from pixelvae.evaluation.information import latent_health
from pixelvae.generation import complete, generators, interpolate, reconstruct, sample, score
from pixelvae.training.multiplier import Multiplier
from pixelvae.training.objective import Objective
from pixelvae.training.options import COMPILE_REPAYS_AFTER, TrainingOptions
from pixelvae.training.trainer import Trainer
from tiny import tiny_spec

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
aten = torch.ops.aten
READS = (aten._local_scalar_dense, aten.item, aten.is_nonzero)
PINS = (aten._pin_memory, aten.pin_memory)  # which need the driver
WALKS = ("-deep", "-rgb", "factorised")  # a decoder's name ends with one of these
OBJECTIVES = (Objective(warmup_steps=4), Objective(free_bits=0.1), Objective(rate=3.0, consistency=1.0))


class PretendedGPU(TorchDispatchMode):
    """Shapes, dtypes and devices of tensors without their values: every float that is read is 1, every check false."""

    def __init__(self):
        super().__init__()
        self.fake, self.reads = FakeTensorMode(allow_non_fake_inputs=True), 0

    def __enter__(self):
        self.fake.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.fake.__exit__(*error)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket in READS:
            self.reads += args[0].device.type == "cuda"
            return False if args[0].dtype == torch.bool else 1
        if function.overloadpacket in PINS:
            return args[0].clone()
        return False if function is aten.equal.default else function(*args, **kwargs or {})


@pytest.fixture
def numerics(monkeypatch):
    """The process's settings, put back afterwards."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)

    def settings():
        cudnn = torch.backends.cudnn
        return (
            torch.get_float32_matmul_precision(),
            cudnn.allow_tf32,
            cudnn.benchmark,
            torch.are_deterministic_algorithms_enabled(),
            os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        )

    before = settings()
    yield settings
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = before[1:3]
    torch.use_deterministic_algorithms(before[3])
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def batch(n, spec, device=GPU):
    """Levels and labels."""
    x = torch.zeros(n, *spec.shape, dtype=torch.long, device=device)
    return x, torch.zeros(n, len(spec.num_classes), dtype=torch.long, device=device)


def vae(spec, decoder, *, context=VectorContext, prior=StandardNormal, likelihood=Categorical):
    """A PixelVAE of images or sounds, with labels, on the CPU."""
    encoder = partial(ConvEncoder if len(spec.sites) == 2 else WaveEncoder, channels=(3,))
    parts = {"likelihood": likelihood, "decoder": decoder, "encoder": encoder, "prior": prior, "context": context}
    return PixelVAE(spec._replace(num_classes=(2, 3)), latent_dim=4, **parts)


def map_context(spec):
    return partial(SpatialContext if len(spec.sites) == 2 else TemporalContext, channels=(4, 3))


def assert_bound_on_gpu(model):
    """What training computes."""
    model, (x, y) = model.to(GPU), batch(3, model.spec)
    bound = model(x, y, noise=model.draw_noise(3, torch.Generator().manual_seed(0)))
    assert {bound.elbo.device, bound.kl_groups.device} == {GPU}
    return bound


def assert_log_weights_on_gpu(model):
    """What the importance-weighted bound is made of."""
    x, y = batch(3, model.spec)
    assert model.log_weights(x, y, num_samples=1, generator=torch.Generator()).device == GPU


@pytest.mark.parametrize("case", **by_name(DECODERS))
def test_every_decoder_and_likelihood_stays_on_its_device(case):
    """With a vector and with a map of context."""
    spec = tiny_spec(case.spec)
    mixture = Categorical if case.channel_masked else partial(DiscretizedLogisticMixture, num_components=2)
    of_vector, of_map = vae(spec, case.make), vae(spec, case.make, context=map_context(spec), likelihood=mixture)
    with PretendedGPU():
        assert_bound_on_gpu(of_vector)
        assert_bound_on_gpu(of_map)


@pytest.mark.parametrize("case", **by_name([case for case in DECODERS if case.name.endswith(WALKS)]))
def test_a_walk_by_the_plan_stays_on_its_device(case):
    """In eager PyTorch, with a map of context."""
    spec = tiny_spec(case.spec)
    model = vae(spec, case.make, context=map_context(spec))
    with PretendedGPU():
        model = model.to(GPU)
        assert sample(model, 2, seed=0, y=batch(2, model.spec)[1]).device == GPU


@pytest.mark.parametrize(("context", "prior"), list(zip(CONTEXTS, cycle(PRIORS), strict=False)))
def test_every_context_and_prior_stays_on_its_device(context, prior):
    make, spec = CONTEXTS[context]
    decoder = partial(SMALL_CNN, num_layers=1) if len(spec.sites) == 2 else SMALL_WAVENET
    model = vae(spec, decoder, context=make, prior=PRIORS[prior])
    with PretendedGPU():
        assert_bound_on_gpu(model)
        assert_log_weights_on_gpu(model)
        assert model.draw_latents(generators(0, 2)).device == GPU


def test_every_use_of_a_model_stays_on_its_device():
    """Random numbers come from CPU generators; results are where the model is."""
    model = vae(tiny_spec(DECODERS[0].spec), partial(SMALL_CNN, num_layers=1))
    with PretendedGPU():
        model = model.to(GPU)
        x, y = batch(1, model.spec)
        h = model.encode(x, y).mean
        results = [
            reconstruct(model, x, seed=0, y=y),
            interpolate(model, h, h, steps=2, seed=0, y=torch.stack([y, y])),
            complete(model, x, x > 0, seed=0, y=y),
            score(model, x, h=h, y=y),
            sample(model, 1, seed=0, y=y, stepper="full"),
        ]
    assert {result.device for result in results} == {GPU}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_an_objective_stays_on_its_device(objective):
    """Also the multiplier; and neither waits for the device."""
    model = vae(tiny_spec(DECODERS[0].spec), DECODERS[0].make)
    with PretendedGPU() as pretended:
        bound, multiplier = assert_bound_on_gpu(model), Multiplier(3.0, GPU)
        pretended.reads = 0
        beta = objective.beta_at(1) if objective.rate is None else multiplier.beta
        loss = objective.loss(bound, beta, lambda mine: mine)
        multiplier.update(bound.kl.mean())
    assert {loss.device, multiplier.beta.device} == {GPU}
    assert pretended.reads == 0


class NoAverage:
    """Stands for the moving average, whose deep copy of pretended weights reads memory that is not there."""

    def __init__(self, model, multi_avg_fn):
        self.module = model

    def update_parameters(self, model):
        """Leave the weights as they are."""


@pytest.mark.parametrize(("accumulate", "mode"), [(1, "reduce-overhead"), (2, "default")])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_an_update_stays_on_its_device_and_does_not_wait_for_it(objective, accumulate, mode, monkeypatch, numerics):
    """All of it but the backward pass, which no pretended GPU runs. CUDA replays a captured step of one batch."""
    spec = tiny_spec(DECODERS[0].spec)
    parts = {"encoder": partial(ConvEncoder, channels=(3,)), "prior": StandardNormal, "context": VectorContext}
    model = PixelVAE(spec, latent_dim=4, likelihood=Categorical, decoder=DECODERS[0].make, **parts)

    def backward(_):
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)

    modes = []
    monkeypatch.setattr("pixelvae.training.trainer.AveragedModel", NoAverage)
    monkeypatch.setattr(torch.Tensor, "backward", backward)
    monkeypatch.setattr(torch, "compile", lambda module, mode: modes.append(mode) or module)
    options = TrainingOptions(accumulate=accumulate, compile="always", deterministic=True, precision="float32")
    with PretendedGPU() as pretended:
        trainer = Trainer(model, options, objective, World(GPU), seed=0)
        measured = [trainer.update(*batch(4, spec, CPU)) for _ in range(2)]
        assert pretended.reads == 0
        assert trainer.read(measured, since=0.0)[-1].step == 2
    assert (
        {parameter.device for parameter in trainer.averaged_model.parameters()} == {measured[0].values.device} == {GPU}
    )
    assert modes == [mode]
    assert numerics() == ("highest", False, False, True, ":4096:8")


class Zeros(Split):
    """Ten examples."""

    def __init__(self, spec):
        self.spec = spec

    def __len__(self):
        return 10

    def __getitem__(self, key):
        return batch(len(key.indices), self.spec, CPU)


def test_evaluation_sends_its_batches_and_sums_on_the_cpu(monkeypatch):
    """Not every device has float64."""
    doubles = []
    double = torch.Tensor.double
    monkeypatch.setattr(torch.Tensor, "double", lambda tensor: (doubles.append(tensor.device.type), double(tensor))[1])
    world, model = World(GPU), vae(tiny_spec(DECODERS[0].spec), DECODERS[0].make)
    with PretendedGPU():
        model, split = model.to(GPU), Zeros(model.spec)
        bounds = evaluate_bound(model, split, seed=0, world=world, batch_size=4)
        weighted = evaluate_importance_weighted(model, split, num_samples=2, seed=0, world=world, batch_size=4)
        latent_health(model, split, seed=0, device=GPU)
    assert (bounds.kl_groups.device, weighted.num_samples) == (CPU, 2)
    assert set(doubles) == {"cpu"}


def test_the_law_of_devices_can_fail():
    """A tensor that is made without a device, or left behind by ``to``, is refused."""

    class Forgetful(StandardNormal):
        def kl(self, q, h):
            return super().kl(q, h) + torch.zeros(h.shape[1])

    model = vae(tiny_spec(DECODERS[0].spec), DECODERS[0].make, prior=lambda dim, _: Forgetful(dim))
    with PretendedGPU(), pytest.raises(RuntimeError, match="device"):
        assert_bound_on_gpu(model)


# copies


@pytest.mark.parametrize(
    ("x", "travels_as"),
    [
        ([0, 255], torch.uint8),
        ([0, 256], torch.int64),
        ([ABSENT, 255], torch.int64),
    ],
    ids=["bytes", "more-levels", "absent"],
)
def test_levels_travel_as_bytes_where_these_hold_them(x, travels_as, monkeypatch):
    given = torch.tensor(x)
    bytes_of = []
    to = torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(torch.Tensor, "to", lambda t, *to_what, **how: watched(to, bytes_of, t, *to_what, **how))
    sent = send_levels(given, torch.device("meta"))
    assert (sent.dtype, sent.device.type) == (torch.int64, "meta")
    assert bytes_of == [travels_as]


def watched(to, dtypes, tensor, *to_what, **how):
    """``Tensor.to`` that keeps the dtypes of what changes its device."""
    moved = to(tensor, *to_what, **how)
    if moved.device != tensor.device:
        dtypes.append(tensor.dtype)
    return moved


def test_on_the_cpu_nothing_is_copied():
    x = random_levels(3, DECODERS[0].spec)
    assert send_levels(x, CPU) is x
    assert send(x, CPU) is x


def test_a_copy_to_cuda_goes_through_pinned_memory_and_does_not_wait(monkeypatch):
    seen = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: (seen.append("pinned"), tensor)[1])
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device, **how: seen.append((device, how)))
    send(torch.zeros(2), GPU)
    assert seen == ["pinned", (GPU, {"non_blocking": True})]


# choice


def with_accelerator(monkeypatch, kind, count=1):
    """A machine with an accelerator of a kind, or without any."""
    accelerator = None if kind is None else torch.device(kind)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: accelerator)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("kind", "name", "chosen"),
    [
        (None, "auto", "cpu"),
        ("cuda", "auto", "cuda"),
        ("mps", "auto", "mps"),
        ("xpu", "auto", "xpu"),
        ("cuda", "cpu", "cpu"),
        ("cuda", "cuda:1", "cuda:1"),
    ],
)
def test_a_device_by_its_name(monkeypatch, kind, name, chosen):
    with_accelerator(monkeypatch, kind, count=2)
    assert choose_device(name) == torch.device(chosen)


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        (None, "cuda", "this machine has cpu; set device: cpu"),
        ("mps", "cuda", "this machine has cpu and mps; set device: mps"),
        ("cuda", "gpu", "device='gpu', but this machine has cpu and cuda; set device: cuda"),
        ("cuda", "cuda:one", "set device: cuda"),
        ("cuda", "cuda:2", "device='cuda:2', but this machine has 2 of cuda"),
        (None, "", "set device: cpu"),
        (None, "meta", "set device: cpu"),
    ],
)
def test_a_device_that_is_not_there_is_refused(monkeypatch, kind, name, message):
    with_accelerator(monkeypatch, kind, count=2)
    with pytest.raises(ValueError, match=message):
        choose_device(name)


# rounding and repeatability


def test_rounding_is_a_choice(numerics):
    set_numerics(GPU)
    assert numerics() == ("highest", False, False, False, None)
    set_numerics(GPU, tf32=True, benchmark=True)
    assert numerics() == ("high", True, True, False, None)
    set_numerics(GPU, deterministic=True)
    assert numerics() == ("highest", False, False, True, ":4096:8")


def test_the_cpu_is_left_as_it_is(numerics):
    before = numerics()
    set_numerics(CPU, tf32=True, deterministic=True)
    assert numerics() == before


def test_timed_algorithms_exclude_repeatable_ones():
    with pytest.raises(ValueError, match="deterministic=True excludes"):
        set_numerics(GPU, benchmark=True, deterministic=True)


# compilation


@pytest.mark.parametrize(
    ("device", "gxx", "triton", "compiles"),
    [
        ("cpu", True, False, True),
        ("cpu", False, True, False),
        ("cuda", False, True, True),
        ("cuda", True, False, False),
        ("mps", True, True, False),
    ],
)
def test_automatic_compilation_wants_the_compiler_of_its_device(monkeypatch, device, gxx, triton, compiles):
    monkeypatch.setattr(shutil, "which", lambda name: name if gxx else None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if triton else None)
    device, long, short = torch.device(device), COMPILE_REPAYS_AFTER, COMPILE_REPAYS_AFTER - 1
    assert TrainingOptions(steps=long).compiles(device) is compiles
    assert not TrainingOptions(steps=short).compiles(device)
    assert TrainingOptions(steps=short, compile="always").compiles(device)
    assert not TrainingOptions(steps=long, compile="never").compiles(device)


def test_a_model_without_latents_stays_on_its_device():
    spec = tiny_spec(DECODERS[0].spec)
    model = AutoregressiveModel(spec, likelihood=Categorical, decoder=DECODERS[0].make, context=VectorContext)
    with PretendedGPU():
        assert_bound_on_gpu(model)
