"""compress and decompress: examples to the bytes of a .pxv file, and back, bit for bit on every machine."""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from pixelvae.boundary import Labels, require_batch
from pixelvae.compression.bits_back import BitsBack
from pixelvae.compression.codec import Codec, Exact, Sites, lengths_of, pop_labels, push_labels
from pixelvae.compression.container import (
    MAX_BLOCK,
    ArchiveError,
    Block,
    Header,
    block_bytes,
    check_name,
    damaged,
    header_bytes,
    levels_crc,
    read_blocks,
    read_header,
    require_version,
)
from pixelvae.data.spec import ABSENT, DataSpec
from pixelvae.models.base import GenerativeModel
from pixelvae.models.pixelvae import PixelVAE
from pixelvae.progress import tqdm
from pixelvae.sampling.coding import VERSIONS, Setting, Stack
from pixelvae.sampling.engine import BLOCK, NATIVE

MIN_EXAMPLES, MIN_BITS, MAX_BITS = 256, 2**20, 2**24  # of a block by default; bits of the levels as they are

Task = TypeVar("Task")
Result = TypeVar("Result")


class Decoded(NamedTuple):
    """Levels (N, C, *S) int64, and labels (N, L) int64, None without kinds of label."""

    x: Tensor
    y: Tensor | None


class Coder:
    """A model as a coder of whole blocks.

    Args:
        model: On the CPU, in float32, with a decoder that has a plan.
        threads: Blocks that are coded at once; torch.get_num_threads() by default.
        engine_threads: Threads of one block, where it is compressed.
        target: Compiler flags that select the processor.
        batch: Examples that one pass over the weights serves.

    Raises:
        ValueError: If the model cannot compress, with the reason.
    """

    def __init__(
        self,
        model: GenerativeModel,
        *,
        threads: int | None = None,
        engine_threads: int = 1,
        target: tuple[str, ...] = NATIVE,
        batch: int = BLOCK,
    ) -> None:
        self.spec, self.threads = model.spec, threads or torch.get_num_threads()
        sites = Sites(model, Setting(engine_threads, target, batch))
        self.target, self.version = target, VERSIONS[sites.native.law]
        self.codec: Codec = Exact(sites)
        if isinstance(model, PixelVAE):
            self.codec = BitsBack(sites, model.prior, model.latent_dim)

    def encode(self, x: Tensor, y: Tensor | None) -> Block:
        """A block of (N, C, *S) levels and (N, L) labels; it has been decoded again and compared.

        Raises:
            ArchiveError: If it does not decode to what it was made of.
        """
        stack, lengths, crc = Stack(target=self.target), lengths_of(x), levels_crc(x)
        groups = self.codec.push(stack, x, y, lengths)
        if lengths is not None:
            stack.push_uniform(lengths.numpy(), self.spec.sites[0] + 1)
        push_labels(stack, y, self.spec.num_classes)
        block = Block(crc, *stack.message[:1], groups, stack.message[1])
        again = self.decode(block, "a new block")
        if not torch.equal(again.x, x) or (y is not None and again.y is not None and not torch.equal(again.y, y)):
            raise ArchiveError("a block does not decode to the levels that it was made of; nothing is written")
        return block

    def decode(self, block: Block, what: str) -> Decoded:
        """Levels and labels of a block.

        Raises:
            ArchiveError: If it does not decode to the levels that its checksum is of.
        """
        stack, n = Stack((block.head, block.words), self.target), sum(group.size for group in block.groups)
        y = pop_labels(stack, n, self.spec.num_classes)
        lengths = None
        if len(self.spec.sites) == 1:
            lengths = torch.from_numpy(stack.pop_uniform(n, self.spec.sites[0] + 1))
        x = self.codec.pop(stack, block.groups, y, lengths)
        if levels_crc(x) != block.levels_crc or not stack.is_initial:
            damaged(what)
        return Decoded(x, y)


def compress(
    model: GenerativeModel,
    x: Tensor,
    y: Labels | None = None,
    *,
    names: Sequence[str] = (),
    block: int | None = None,
    progress: bool = False,
) -> bytes:
    r"""Examples as a .pxv file of :math:`-\log_2 p(x)` bits; with latents, of minus the ELBO.

    Every block has been decoded again and compared before it is part of the result.

    Args:
        model: On the CPU, in float32; its decoder has a plan, its prior, if any, is ``StandardNormal`` or
            ``HierarchicalPrior``.
        x: (N, C, *S) levels; N may be 0.
        y: (N, L) labels of a class-conditional model.
        names: A relative path for each example, which the file keeps; none by default.
        block: Examples of a block, :func:`examples_per_block` by default. More make the file a little smaller; a
            damaged block loses all of them, and a block is decoded on one core.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: If the model cannot compress, or x, y or names are not what it wants.

    Example:
        >>> from functools import partial
        >>> from pixelvae import AutoregressiveModel, DataSpec, GatedPixelCNN
        >>> model = AutoregressiveModel.default(DataSpec((1, 8, 8), levels=4), decoder=partial(GatedPixelCNN))
        >>> x = torch.randint(4, (5, 1, 8, 8))
        >>> torch.equal(decompress(model, compress(model, x)).x, x)
        True
    """
    spec = model.spec
    block = examples_per_block(spec) if block is None else block
    if not 1 <= block <= MAX_BLOCK:
        raise ValueError(f"block={block}; wanted 1 .. {MAX_BLOCK} examples")
    is_empty = isinstance(x, Tensor) and x.shape == (0, *spec.shape)
    x, labels = (x.long(), None) if is_empty else require_batch(x, y, spec, torch.device("cpu"))
    if names and len(names) != len(x):
        raise ValueError(f"{len(names)} names for {len(x)} examples; wanted one each, or none")
    for name in names:
        check_name(name)
    parts = [slice(i, i + block) for i in range(0, len(x), block)]
    coder = Coder(model, engine_threads=max(1, torch.get_num_threads() // max(1, len(parts))))
    header = header_bytes(
        Header(
            fingerprint(model), spec.shape, spec.levels, spec.num_classes, len(x), block, coder.version, tuple(names)
        )
    )
    tasks = [(x[part], None if labels is None else labels[part]) for part in parts]
    encoded = in_threads(lambda task: coder.encode(*task), iter(tasks), coder.threads)
    written, dims = [header], 0
    with tqdm(desc="compress", unit="example", total=len(x), disable=not progress, leave=False) as bar:
        for i, found in enumerate(encoded):
            written.append(block_bytes(found, i, header))
            part = x[i * block : (i + 1) * block]
            dims += int((part != ABSENT).sum())
            bar.set_postfix_str(f"{8 * sum(map(len, written)) / max(1, dims):.3f} bits/dim so far", refresh=False)
            bar.update(len(part))
    return b"".join(written)


def examples_per_block(spec: DataSpec) -> int:
    """Examples of a block by default: 256, more of them if they are small, fewer if they are large.

    Example:
        >>> [examples_per_block(DataSpec((1, 28, 28), levels)) for levels in (2, 256)]
        [1337, 256]
    """
    bits = math.prod(spec.shape) * math.log2(spec.levels)
    fewest = min(MIN_EXAMPLES, max(1, int(MAX_BITS / bits)))
    return max(fewest, min(MAX_BLOCK, int(MIN_BITS / bits)))


def decompress(model: GenerativeModel, data: bytes, *, progress: bool = False) -> Decoded:
    """The levels (N, C, *S) and labels (N, L) of a .pxv file; labels are None of a model without them.

    Args:
        model: The same weights that compressed.
        data: All bytes of the file.
        progress: Whether to show a progress bar.

    Raises:
        ArchiveError: A ValueError, if the file is damaged, of another model, or of another version. The whole blocks
            before the damage: :func:`decoded_blocks`.
    """
    parts = list(decoded_blocks(model, data, progress=progress))
    spec = model.spec
    x = torch.cat([torch.zeros(0, *spec.shape, dtype=torch.long), *(part.x for part in parts)])
    labels = [part.y for part in parts if part.y is not None]
    empty = torch.zeros(0, len(spec.num_classes), dtype=torch.long)
    return Decoded(x, torch.cat([empty, *labels]) if spec.num_classes else None)


def decoded_blocks(
    model: GenerativeModel, data: bytes, *, progress: bool = False, coder: Coder | None = None
) -> Iterator[Decoded]:
    """The examples of a .pxv file, block after block.

    Raises:
        ArchiveError: At the first block that is damaged; the blocks before it have been given out.
    """
    header, begin = read_header(data)
    if header.model != fingerprint(model):
        raise ArchiveError("the file was compressed by a model with other weights; use the checkpoint that wrote it")
    if (header.shape, header.levels, header.num_classes) != tuple(model.spec):
        raise ArchiveError("the header is damaged: shape, levels or classes are not the model's")
    coder = coder or Coder(model)
    require_version("engine", header.engine, coder.version)
    total = header.num_blocks
    tasks = ((block, f"block {i + 1} of {total}") for i, block in enumerate(read_blocks(data, header, begin)))
    decoded = in_threads(lambda task: coder.decode(*task), tasks, coder.threads)
    with tqdm(desc="decompress", unit="example", total=header.num_examples, disable=not progress, leave=False) as bar:
        for part in decoded:
            yield part
            bar.update(len(part.x))


def in_threads(work: Callable[[Task], Result], tasks: Iterator[Task], threads: int) -> Iterator[Result]:
    """Results in order, a few tasks ahead; an error of a task, or of finding it, comes after the results before it."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Result]] = deque()
        error: ArchiveError | None = None
        while True:
            try:
                ahead = islice(tasks, 2 * threads - len(waiting))
                waiting.extend(pool.submit(work, task) for task in ahead)
            except ArchiveError as reason:
                error = reason
            if not waiting:
                break
            yield waiting.popleft().result()
        if error is not None:
            raise error


def fingerprint(model: GenerativeModel) -> str:
    """A hash of the names, shapes and values of all weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
