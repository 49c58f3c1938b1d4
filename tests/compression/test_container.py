"""The bytes of a .pxv file are checked before they are decoded: no model is needed to find damage."""

import zlib
from itertools import permutations

import numpy as np
import pytest

from pixelvae.compression.container import (
    BLOCK,
    LENGTH,
    OLDEST_VERSION,
    ArchiveError,
    Block,
    Header,
    block_bytes,
    header_bytes,
    read_blocks,
    read_header,
)
from pixelvae.compression.groups import Group

HEADER = Header("0" * 16, (1, 8, 8), 2, (), num_examples=7, block=3, engine=1)
SIZES = (3, 3, 1)


def blocks():
    """Blocks of 3, 3 and 1 examples."""
    words = np.random.default_rng(0).integers(2**32, size=(3, 4)).astype(np.uint32)
    return [Block(i, (i + 1) << 32, [Group(size)], words[i]) for i, size in enumerate(SIZES)]


def file_of(header, parts):
    first = header_bytes(header)
    return first + b"".join(block_bytes(block, i, first) for i, block in enumerate(parts))


def contents(data):
    header, begin = read_header(data)
    return header, [block._replace(words=block.words.tolist()) for block in read_blocks(data, header, begin)]


def test_what_is_written_is_read():
    assert contents(file_of(HEADER, blocks())) == (HEADER, [b._replace(words=b.words.tolist()) for b in blocks()])


def test_every_flipped_bit_of_a_file_is_found():
    data = file_of(HEADER, blocks())
    for at in range(len(data)):
        for bit in range(8):
            with pytest.raises(ArchiveError):
                contents(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])


def test_a_block_is_read_in_its_place_alone():
    """Two blocks of one size: only their checksums differ by their places."""
    first = header_bytes(HEADER._replace(num_examples=9))
    parts = [block._replace(groups=[Group(3)]) for block in blocks()]
    framed = [block_bytes(block, i, first) for i, block in enumerate(parts)]
    for order in permutations(framed):
        if list(order) != framed:
            with pytest.raises(ArchiveError, match=r"block \d of 3 is damaged"):
                contents(first + b"".join(order))


@pytest.mark.parametrize(
    ("sizes", "is_whole"),
    [((3,), True), ((1, 2), True), ((2,), False), ((4,), False), ((2, 2), False), ((3, 0), False), ((), False)],
)
def test_groups_of_the_oldest_version_are_the_examples_of_their_block(sizes, is_whole):
    """They are written as numbers of examples, with a right checksum, but by anybody."""
    first = header_bytes(HEADER._replace(version=OLDEST_VERSION, num_examples=3))
    content = BLOCK.pack(0, 1 << 32, len(sizes)) + np.array(sizes, "<u2").tobytes() + bytes(8)
    checksum = zlib.crc32(content, zlib.crc32(LENGTH.pack(0) + first))
    data = first + LENGTH.pack(len(content)) + content + LENGTH.pack(checksum)
    if is_whole:
        assert [group.size for group in contents(data)[1][0].groups] == list(sizes)
    else:
        with pytest.raises(ArchiveError, match="block 1 of 1 is damaged"):
            contents(data)
