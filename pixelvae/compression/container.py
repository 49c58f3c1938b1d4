"""The bytes of a .pxv file: a header, then blocks that do not depend on each other, each with a checksum."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from pathlib import PurePosixPath
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from torch import Tensor

from pixelvae.compression.groups import MAX_PRECISION, Group, group_bytes, groups_of
from pixelvae.sampling.coding import Words

MAGIC = b"\x89PXV\r\n\x1a\n"  # as of PNG: 7-bit transfers and changes of line ends damage it
FORMAT_VERSION = 2
OLDEST_VERSION = 1  # groups are 16-bit numbers of examples, bins have the full precision and no masks
MAX_HEADER, MAX_COUNT = 2**28, 2**31
MAX_BLOCK = 2**12
DICTIONARY = (
    b'","shape":[1,28,28],"levels":256,"num_classes":[],"num_examples":1000,"block":256,"engine":1,'
    b'"names":[],"version":2}{"model":"'
)  # what headers have in common
LENGTH = struct.Struct("<I")
BLOCK = struct.Struct("<IQH")  # checksum of the levels, head of the message, length of the groups


class ArchiveError(ValueError):
    """A file that is damaged, foreign, of another model or of another version; says which in one line."""


class Header(NamedTuple):
    """What stands before the blocks.

    Attributes:
        model: Hash of the weights.
        shape, levels, num_classes: Of the data.
        num_examples: Number of examples.
        block: Number of examples of every block but the last.
        engine: Version of the integers that the engine makes of the likelihood's params.
        names: A name for each example, or none; relative paths with ``/``.
        version: Of the format.
    """

    model: str
    shape: tuple[int, ...]
    levels: int
    num_classes: tuple[int, ...]
    num_examples: int
    block: int
    engine: int
    names: tuple[str, ...] = ()
    version: int = FORMAT_VERSION

    @property
    def num_blocks(self) -> int:
        """Number of blocks."""
        return -(-self.num_examples // self.block)


class Block(NamedTuple):
    """One block: a message, its groups, and a checksum of the levels that it decodes to."""

    levels_crc: int
    head: int
    groups: list[Group]
    words: Words


def header_bytes(header: Header) -> bytes:
    """Magic, length, header and its checksum."""
    fields = header._asdict()
    fields["names"] = _steps(fields["names"])
    packer = zlib.compressobj(9, zdict=DICTIONARY)
    content = packer.compress(json.dumps(fields, separators=(",", ":")).encode()) + packer.flush()
    return MAGIC + LENGTH.pack(len(content)) + content + LENGTH.pack(zlib.crc32(content))


def block_bytes(block: Block, index: int, header: bytes) -> bytes:
    """Length, block and a checksum of the block and its place.

    The header has a checksum of its own. Its content does not enter those of blocks: the CRC at its end cancels it.
    """
    groups = group_bytes(block.groups)
    content = BLOCK.pack(block.levels_crc, block.head, len(groups)) + groups + block.words.astype("<u4").tobytes()
    return LENGTH.pack(len(content)) + content + LENGTH.pack(_crc(content, index, header))


def read_header(data: bytes) -> tuple[Header, int]:
    """The header, and where the first block begins.

    Raises:
        ArchiveError: If it is damaged, foreign, or of another version.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise ArchiveError("this is not a .pxv file, or its first bytes are damaged")
    content, checksum, end = _framed(data, len(MAGIC), MAX_HEADER, "the header")
    if checksum != zlib.crc32(content):
        raise ArchiveError("the header is damaged")
    try:
        unpacker = zlib.decompressobj(zdict=DICTIONARY)
        fields = json.loads(unpacker.decompress(content, MAX_HEADER))
        if fields["version"] != OLDEST_VERSION:
            require_version("format", fields["version"], FORMAT_VERSION)
        return _checked(fields), end
    except ArchiveError:
        raise
    except (KeyError, TypeError, ValueError, RecursionError, zlib.error) as error:
        raise ArchiveError(f"the header is damaged: {type(error).__name__}") from error


def read_blocks(data: bytes, header: Header, begin: int) -> Iterator[Block]:
    """The blocks, in order.

    Raises:
        ArchiveError: At the first one that is damaged or missing, or after the last one if more bytes follow.
    """
    head, at = data[:begin], begin
    for index in range(header.num_blocks):
        size = min(header.block, header.num_examples - index * header.block)
        what = f"block {index + 1} of {header.num_blocks}"
        content, checksum, at = _framed(data, at, len(data), what)
        if checksum != _crc(content, index, head):
            damaged(what)
        yield _block(content, size, what, header.version)
    if at != len(data):
        raise ArchiveError(f"{len(data) - at} bytes too many after the last block")


def damaged(what: str) -> NoReturn:
    """Refuse a part of a file.

    Raises:
        ArchiveError: Always.
    """
    raise ArchiveError(f"{what} is damaged; the examples before it are whole")


def levels_crc(x: Tensor) -> int:
    """A checksum of levels."""
    return zlib.crc32(np.ascontiguousarray(x.to(torch.int32).numpy()).astype("<i4").tobytes())


def _block(content: bytes, size: int, what: str, version: int) -> Block:
    if len(content) < BLOCK.size:
        damaged(what)
    crc, head, length = BLOCK.unpack_from(content)
    begin = BLOCK.size + (2 * length if version == OLDEST_VERSION else length)
    if len(content) < begin or (len(content) - begin) % 4 or head >> 32 == 0:
        damaged(what)
    if version == OLDEST_VERSION:
        sizes = struct.unpack_from(f"<{length}H", content, BLOCK.size)
        groups = [Group(n, MAX_PRECISION, masked=False) for n in sizes]
    else:
        try:
            groups = groups_of(content[BLOCK.size : begin], size)
        except ValueError:
            damaged(what)
    if sum(group.size for group in groups) != size or not all(group.size for group in groups):
        damaged(what)
    return Block(crc, head, groups, np.frombuffer(content, "<u4", offset=begin).astype(np.uint32))


def _framed(data: bytes, at: int, most: int, what: str) -> tuple[bytes, int, int]:
    """A length, so many bytes, and a checksum: the bytes, the checksum, and where it ends."""
    end = at + LENGTH.size
    if len(data) >= end:
        (length,) = LENGTH.unpack_from(data, at)
        if length <= most and len(data) >= end + length + LENGTH.size:
            (checksum,) = LENGTH.unpack_from(data, end + length)
            return data[end : end + length], checksum, end + length + LENGTH.size
    raise ArchiveError(f"the file ends within {what}, or the length of {what} is damaged; what is before it is whole")


def _crc(content: bytes, index: int, header: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(LENGTH.pack(index) + header))


def require_version(what: str, given: Any, wanted: int) -> None:
    """Check a version.

    Raises:
        ArchiveError: If it is another one.
    """
    if given != wanted:
        raise ArchiveError(f"the file has {what} version {given}; this pixelvae reads version {wanted}")


def _steps(names: Sequence[str]) -> list[str] | list[int]:
    """Rising numbers as steps from each to the next, from 0 on, which are shorter; other names as they are.

    Example:
        >>> _steps(("3", "5", "8")), _steps(("a", "05"))
        ([3, 2, 3], ['a', '05'])
    """
    if not all(name.isdecimal() and str(int(name)) == name for name in names):
        return list(names)
    steps = [after - before for before, after in pairwise([0, *map(int, names)])]
    return steps if all(step >= 0 for step in steps) else list(names)


def _names(entries: list[Any]) -> tuple[Any, ...]:
    """Names from what :func:`_steps` makes of them."""
    if entries and all(type(entry) is int for entry in entries):
        return tuple(map(str, accumulate(entries)))
    return tuple(entries)


def _checked(fields: dict[str, Any]) -> Header:
    """A header of the right types: files may come from anybody."""
    names = _names(fields.pop("names"))
    header = Header(**fields | {name: tuple(map(int, fields[name])) for name in ("shape", "num_classes")}, names=names)
    numbers = (header.levels, header.num_examples, header.block, header.engine, *header.shape, *header.num_classes)
    in_range = all(type(number) is int and 0 <= number <= MAX_COUNT for number in numbers)
    if not in_range or not 0 < header.block <= MAX_BLOCK:
        raise ArchiveError("the header is damaged: a size is out of range")
    if names and len(names) != header.num_examples:
        raise ArchiveError(f"the header is damaged: {len(names)} names for {header.num_examples} examples")
    for name in names:
        check_name(name)
    return header


def check_name(name: str) -> None:
    """Check that a name is a relative path that leaves no folder.

    Raises:
        ArchiveError: If it is not.
    """
    bad = not isinstance(name, str) or not name or "\\" in name or ":" in name or "\0" in name
    if bad or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise ArchiveError(f"name {name!r}: wanted a relative path with /, without .., \\ and :")
