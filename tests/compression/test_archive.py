"""compress and decompress: the same bits everywhere, of the size that the bound promises, and never a wrong picture."""

import hashlib
import math
import platform
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

import pixelvae as pv
from coded_models import MODELS, PIXELCNN, exact, examples, latent
from own_parts import LeftOnly
from pixelvae import ConvEncoder, DataSpec, Digits, Factorised, FlowPrior, PixelCNN, RowLSTM, SpatialContext, WaveNet
from pixelvae.compression.ancestral import centres, grids
from pixelvae.compression.archive import Coder, compress, decoded_blocks, decompress
from pixelvae.compression.container import (
    FORMAT_VERSION,
    ArchiveError,
    block_bytes,
    header_bytes,
    read_blocks,
    read_header,
)
from pixelvae.compression.groups import Group, group_bytes, groups_of
from pixelvae.sampling import engine

GOLDEN = Path(__file__).parent / "golden"
TARGETS = [engine.NATIVE, *([("-march=x86-64-v3",)] if platform.machine() == "x86_64" else [])]
every_model = pytest.mark.parametrize("name", MODELS)


def assert_same(found, x, y):
    assert torch.equal(found.x, x)
    assert (found.y is None) == (y is None)
    assert y is None or torch.equal(found.y, y)


@every_model
@pytest.mark.parametrize("n", [0, 1, 21])
def test_a_round_trip_gives_the_same_bits(name, n):
    """Odd sizes, one example, none, RGB, 2 to 256 levels, labels, sounds of any length."""
    model = MODELS[name]()
    x, y = examples(model, n)
    assert_same(decompress(model, compress(model, x, y, block=16)), x, y)


@every_model
def test_bits_do_not_depend_on_threads_batch_or_vector_width(name):
    """All settings of the engine encode to the same message, and all of them decode it."""
    model = MODELS[name]()
    x, y = examples(model, 21)
    settings = list(product((1, 2), (1, 16, 64), TARGETS))
    coders = [Coder(model, engine_threads=t, batch=b, target=target) for t, b, target in settings]
    block, *others = (coder.encode(x, y) for coder in coders)
    for other, coder in zip(others, coders[1:], strict=True):
        assert (other.head, other.groups, other.words.tolist()) == (block.head, block.groups, block.words.tolist())
        assert_same(coder.decode(block, "the block"), x, y)


@pytest.mark.parametrize("name", ["latents-rgb-labels", "two-levels"])
def test_networks_in_another_layout_and_with_more_threads_are_rounded_alike(name):
    """As a checkpoint is loaded: channels last."""
    model = MODELS[name]()
    x, y = examples(model, 21)
    data = compress(model, x, y)
    torch.set_num_threads(2)
    assert_same(decompress(model.to(memory_format=torch.channels_last), data), x, y)
    torch.set_num_threads(1)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*/*.pxv")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_golden_files_decode_for_ever(path):
    """Written once. If this fails, raise a version in coding.py or FORMAT_VERSION: older files cannot be read."""
    model = MODELS[path.stem]()
    x, y = examples(model, 5)
    assert_same(decompress(model, path.read_bytes()), x, y)


@every_model
def test_the_newest_golden_files_are_what_is_written_today(name):
    """Else they would hold nothing of today's encoder; and every model has one."""
    model = MODELS[name]()
    newest = GOLDEN / f"format-{FORMAT_VERSION}" / f"{name}.pxv"
    written = [contents(data) for data in (compress(model, *examples(model, 5), block=3), newest.read_bytes())]
    assert written[0] == written[1]


def contents(data):
    """Header and blocks, whatever zlib makes of the header."""
    header, begin = read_header(data)
    return header, [block._replace(words=block.words.tolist()) for block in read_blocks(data, header, begin)]


def test_the_tables_of_bits_back_are_the_same_everywhere():
    """Made by the standard library's float64, rounded: a machine that rounds otherwise reads no file."""
    tables = [*grids(12).grid.tables, centres(12)]
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(table, "<i8").tobytes() for table in tables)).hexdigest()
    assert digest[:16] == "c3ed8d229164dadf"


def bits(model, x, y=None, draws=1):
    """Minus the bound, in bits."""
    generator = torch.Generator().manual_seed(0)
    nats = [-model(x, y, noise=model.draw_noise(len(x), generator)).elbo.sum().item() for _ in range(draws)]
    return sum(nats) / draws / math.log(2)


@pytest.mark.parametrize("likelihood", [pv.Categorical, partial(pv.DiscretizedLogisticMixture, num_components=3)])
def test_a_file_is_as_long_as_the_likelihood_says(likelihood):
    """At most 0.2 % more without latents, beside a header and 30 bytes a block."""
    model = exact(DataSpec((1, 16, 16), 32), likelihood)
    x = model.sample(256, seed=0)
    data = compress(model, x)
    assert 0.995 * bits(model, x) < 8 * len(data) < 1.002 * bits(model, x) + 8 * (200 + 30)


def test_a_file_is_as_long_as_the_elbo_says():
    """At most 1 % more with latents, the initial bits included, beside a header."""
    model = latent(DataSpec((1, 12, 12), 16))
    x = model.sample(300, seed=0)
    data = compress(model, x)
    elbo = bits(model, x, draws=4)
    assert 0.99 * elbo < 8 * len(data) < 1.01 * elbo + 8 * 200


@pytest.mark.slow
def test_a_file_of_small_binary_images_is_as_long_as_the_elbo_says():
    """1,797 digits of 8x8 binary pixels at 34 bits each, 32 latents: at most 1 % more, beside header and frame.

    Blocks of 256 would cost 7 % more, and a group a byte 0.6 %.
    """
    data = Digits(levels=2)
    parts = (partial(ConvEncoder, channels=(16, 16)), partial(SpatialContext, channels=(16, 8)))
    spec = data.spec._replace(num_classes=())
    model = pv.PixelVAE.default(spec, latent_dim=32, decoder=PIXELCNN, encoder=parts[0], context=parts[1])
    x = torch.cat([split.images(range(len(split))) for split in (data.train, data.validation, data.test)])
    adam, generator = torch.optim.Adam(model.parameters(), 3e-3), torch.Generator().manual_seed(0)
    for _ in range(500):
        batch = x[torch.randint(len(x), (64,), generator=generator)]
        loss = -model(batch, noise=model.draw_noise(64, generator)).elbo.mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    found = compress(model.freeze(), x)
    header, begin = read_header(found)
    elbo = bits(model, x, draws=8)
    assert header.num_blocks == 1
    assert elbo / len(x) < 40
    assert 0.99 * elbo < 8 * (len(found) - begin) < 1.01 * elbo + 8 * 30


@dataclass
class Archive:
    """A small file of several blocks, and what it holds."""

    model: pv.AutoregressiveModel
    coder: Coder
    x: torch.Tensor
    data: bytes

    def given_out(self, data):
        """Examples that are given out, and the error."""
        parts = []
        try:
            parts += decoded_blocks_one_by_one(self, data, parts)
        except ArchiveError as error:
            return parts, str(error)
        return parts, ""


def decoded_blocks_one_by_one(archive, data, parts):
    for part in decoded_blocks(archive.model, data, coder=archive.coder):
        parts.append(part.x)
    return []


@pytest.fixture(scope="module", params=["grey-2", "latents"])
def archive(request):
    model = MODELS[request.param]()
    x, _ = examples(model, 18)
    return Archive(model, Coder(model, threads=1), x, compress(model, x, block=4))


def damaged_files(data, n):
    """Bits turned, bytes changed, taken out, put in, doubled, zeroed, and ends cut off."""
    random = np.random.default_rng(0)
    for i in range(n):
        at, length = int(random.integers(len(data))), int(random.integers(1, 40))
        noise = random.bytes(length)
        part = data[at : at + length]
        yield [
            data[:at] + bytes([data[at] ^ 1 << int(random.integers(8))]) + data[at + 1 :],
            data[:at] + noise + data[at + length :],
            data[:at] + data[at + length :],
            data[:at] + noise + data[at:],
            data[:at] + part + data[at:],
            data[:at] + bytes(len(part)) + data[at + length :],
            data[:at],
        ][i % 7]


def test_a_damaged_file_is_one_clear_line_and_gives_no_wrong_picture(archive):
    """300 of each kind of model: whole blocks before the damage, then an ArchiveError."""
    refused = 0
    for data in damaged_files(archive.data, 300):
        parts, error = archive.given_out(data)
        found = torch.cat([archive.x[:0], *parts])
        assert torch.equal(found, archive.x[: len(found)])
        assert error or len(found) == len(archive.x)
        assert "\n" not in error
        refused += bool(error)
    assert refused > 280  # zeros in place of zeros are no damage


def test_whole_blocks_before_the_damage_are_given_out(archive):
    parts, error = archive.given_out(archive.data[:-1])
    assert [len(part) for part in parts] == [4, 4, 4, 4]
    assert "block 5 of 5" in error


def test_bytes_after_the_last_block_are_damage(archive):
    parts, error = archive.given_out(archive.data + b"\0")
    assert sum(map(len, parts)) == 18
    assert error == "1 bytes too many after the last block"


def test_damage_behind_a_right_checksum_is_refused(archive):
    """A block of random words, and blocks that changed places."""
    header, begin = read_header(archive.data)
    blocks = list(read_blocks(archive.data, header, begin))
    random = np.random.default_rng(0)
    words = random.integers(2**32, size=20, dtype=np.uint32)
    forged = archive.data[:begin] + block_bytes(blocks[0]._replace(words=words), 0, archive.data[:begin])
    assert archive.given_out(forged) == ([], "block 1 of 5 is damaged; the examples before it are whole")
    whole = [block_bytes(block, i, archive.data[:begin]) for i, block in enumerate(blocks)]
    assert archive.data == archive.data[:begin] + b"".join(whole)
    assert "block 1 of 5 is damaged" in archive.given_out(archive.data[:begin] + b"".join(whole[::-1]))[1]


def test_another_model_or_version_is_refused(archive):
    other = MODELS["grey-2"]()
    with torch.no_grad():
        next(other.parameters()).add_(1e-3)
    with pytest.raises(ValueError, match="other weights"):
        decompress(other, archive.data)
    header, begin = read_header(archive.data)
    for field, own in (("version", FORMAT_VERSION), ("engine", 1)):
        newer = header_bytes(header._replace(**{field: 7})) + archive.data[begin:]
        with pytest.raises(ArchiveError, match=f"version 7; this pixelvae reads version {own}"):
            decompress(archive.model, newer)
    with pytest.raises(ArchiveError, match=r"not a \.pxv file"):
        decompress(archive.model, b"PK\3\4")


@pytest.mark.parametrize(
    "field", [{"num_examples": 2**40}, {"block": 0}, {"names": ["a"]}, {"levels": "2"}, {"shape": [2]}, {"extra": 1}]
)
def test_a_forged_header_is_refused(archive, field, monkeypatch):
    header, begin = read_header(archive.data)
    monkeypatch.setattr(type(header), "_asdict", lambda self: dict(zip(self._fields, self, strict=True)) | field)
    with pytest.raises(ArchiveError, match="header is damaged"):
        decompress(archive.model, header_bytes(header) + archive.data[begin:])


@pytest.mark.parametrize("name", ["../a", "/etc/a", "a/../../b", "", "C:a", "a\\b"])
def test_a_name_that_leaves_its_folder_is_refused(archive, name):
    with pytest.raises(ValueError, match="relative path"):
        compress(archive.model, archive.x[:1], names=[name])
    header, begin = read_header(archive.data)
    forged = header_bytes(header._replace(names=(name,) * 18)) + archive.data[begin:]
    with pytest.raises(ArchiveError, match="relative path"):
        decompress(archive.model, forged)


class TestRefusals:
    """One clear line, before any work."""

    @pytest.mark.parametrize(
        ("prior", "name"),
        [
            (FlowPrior, "FlowPrior"),
            (pv.VampPrior, "VampPrior"),
        ],
    )
    def test_of_other_priors(self, prior, name):
        with pytest.raises(ValueError, match=f"prior {name}: compression wants StandardNormal, HierarchicalPrior"):
            compress(latent(DataSpec((1, 4, 4), 2), prior), torch.zeros(1, 1, 4, 4, dtype=torch.long))

    def test_of_a_decoder_without_a_plan(self):
        model = latent(DataSpec((1, 4, 4), 2), decoder=LeftOnly)
        with pytest.raises(ValueError, match="LeftOnly is not a part that the sampling engine runs"):
            compress(model, torch.zeros(1, 1, 4, 4, dtype=torch.long))

    def test_of_float64(self):
        model = exact(DataSpec((1, 4, 4), 2)).double()
        with pytest.raises(ValueError, match="engine, which is for float32 on the CPU"):
            compress(model, torch.zeros(1, 1, 4, 4, dtype=torch.long))

    def test_of_a_machine_without_a_compiler(self, monkeypatch, tmp_path):
        monkeypatch.setenv("CXX", "no-such-compiler")
        monkeypatch.setenv("PATH", str(tmp_path))
        engine.library.cache_clear()
        engine.why_not.cache_clear()
        with pytest.raises(ValueError, match=r"compression stands on the compiled .* no C\+\+ compiler"):
            compress(exact(DataSpec((1, 4, 4), 2)), torch.zeros(1, 1, 4, 4, dtype=torch.long))
        engine.library.cache_clear()
        engine.why_not.cache_clear()

    def test_of_levels_that_are_none(self, archive):
        with pytest.raises(ValueError, match="levels 0"):
            compress(archive.model, archive.x + 200)
        with pytest.raises(ValueError, match="2 names for 18 examples"):
            compress(archive.model, archive.x, names=["a", "b"])
        with pytest.raises(ValueError, match="block=0"):
            compress(archive.model, archive.x, block=0)

    def test_of_a_block_that_does_not_decode(self, archive, monkeypatch):
        """The encoder decodes each block before it is written."""
        monkeypatch.setattr(archive.coder.codec, "pop", lambda *_: archive.x[:4] * 0)
        with pytest.raises(ArchiveError):
            archive.coder.encode(archive.x[:4], None)


@pytest.mark.parametrize(
    "decoder",
    [partial(PixelCNN, num_layers=2, channels=4), partial(RowLSTM, num_layers=1, channels=4), Factorised, PIXELCNN],
)
def test_every_decoder_with_a_plan_compresses(decoder):
    model = latent(DataSpec((1, 4, 5), 4), decoder=decoder)
    x, _ = examples(model, 7)
    assert_same(decompress(model, compress(model, x)), x, None)


def test_nothing_but_the_wavenet_of_sounds_is_needed():
    """Silence, and sounds without a sample."""
    model = exact(DataSpec((1, 9), 4), decoder=partial(WaveNet, num_layers_per_stack=2, channels=4))
    x = torch.full((3, 1, 9), -1)
    x[0] = 2
    assert_same(decompress(model, compress(model, x)), x, None)


@pytest.mark.parametrize(
    ("groups", "length"),
    [
        ([Group(1, 4), Group(1, 7), Group(1, 7), Group(3), Group(64), Group(64), Group(5)], 4),
        ([Group(1, 1)], 1),
        ([Group(1, 4), Group(1, 4), Group(1, 4)], 1),
        ([Group(3), Group(5), Group(2)], 2),
        ([Group(64)] * 63 + [Group(1)], 2),
        ([Group(1), Group(1), Group(2), Group(2), Group(3), Group(4), Group(4), Group(5)], 3),
    ],
)
def test_groups_come_back_from_their_bytes(groups, length):
    """Gamma codes of their growth, up to the group that stands for the rest."""
    content = group_bytes(groups)
    assert groups_of(content, sum(group.size for group in groups)) == groups
    assert len(content) == length


def test_any_bytes_are_groups_or_refused():
    """Files may come from anybody."""
    random, refused = np.random.default_rng(0), 0
    for n in range(400):
        try:
            groups = groups_of(random.bytes(n % 20), 100)
        except ValueError:
            refused += 1
            continue
        assert sum(group.size for group in groups) == 100
        assert all(group.size > 0 and 1 <= group.precision <= 12 for group in groups)
    assert 0 < refused < 200


@pytest.mark.parametrize(
    "names", [("3", "5", "8"), ("0", "0"), ("8", "5"), ("05",), ("a/1.png", "2"), ("٣",), ("-1",), tuple("0123456789")]
)
def test_names_come_back(archive, names):
    """Also those that are numbers, which are kept as steps."""
    data = compress(archive.model, archive.x[: len(names)], names=names)
    assert read_header(data)[0].names == names


def test_numbers_as_names_cost_next_to_nothing(archive):
    header = read_header(archive.data)[0]._replace(num_examples=10_000)
    sizes = [len(header_bytes(header._replace(names=tuple(map(str, range(0, n, 7)))))) for n in (0, 70_000)]
    assert sizes[0] < 130
    assert sizes[1] < sizes[0] + 50
