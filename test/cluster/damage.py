"""Ways to damage a chunk file of a sealed replica in place, each within what the format means."""
import os

import chunk_files
from chunk_files import PAGE, SECTOR


def _patch(path, offset, data):
    handle = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(handle, data, offset)
    finally:
        os.close(handle)


def _flip(path, offset, bit):
    handle = os.open(path, os.O_RDWR)
    try:
        byte = os.pread(handle, 1, offset)
        os.pwrite(handle, bytes([byte[0] ^ (1 << bit)]), offset)
    finally:
        os.close(handle)


def data_bit(replica, rng, _others):
    offset = rng.randrange(replica.length)
    bit = rng.randrange(8)
    _flip(replica.path, chunk_files.place_of(offset), bit)
    return "bit %d of byte %d" % (bit, offset)


def checksum_bit(replica, rng, _others):
    block = rng.randrange(chunk_files.blocks_of(replica.length))
    place = chunk_files.checksum_page(block // chunk_files.GROUP_BLOCKS)
    place += block % chunk_files.GROUP_BLOCKS * 8 + rng.randrange(8)
    _flip(replica.path, place, rng.randrange(8))
    return "checksum of block %d" % block


def header_bit(replica, rng, _others):
    offset = rng.randrange(SECTOR)
    _flip(replica.path, offset, rng.randrange(8))
    return "byte %d of the header" % offset


def cut(replica, rng, _others):
    size = rng.randrange(chunk_files.file_bytes(replica.length))
    os.truncate(replica.path, size)
    return "cut to %d bytes" % size


def lost_write(replica, rng, _others):
    """A block is what it was before it was written: zeros."""
    block = rng.randrange(chunk_files.blocks_of(replica.length))
    _patch(replica.path, chunk_files.place_of(block * PAGE), bytes(PAGE))
    return "block %d as it was before" % block


def misdirected_write(replica, rng, others):
    """A block with the bytes of another chunk's."""
    source = rng.choice(others)
    with open(source.path, "rb") as file:
        file.seek(chunk_files.place_of(0))
        data = file.read(PAGE)
    block = rng.randrange(chunk_files.blocks_of(replica.length))
    _patch(replica.path, chunk_files.place_of(block * PAGE), data)
    return "block %d of chunk %d" % (block, source.chunk)


def foreign_file(replica, rng, others):
    """The whole file is another chunk's."""
    source = rng.choice(others)
    with open(source.path, "rb") as file:
        data = file.read()
    with open(replica.path, "r+b") as file:
        file.truncate(0)
        file.write(data)
    return "the file of chunk %d" % source.chunk


def gone(replica, _rng, _others):
    os.unlink(replica.path)
    return "file removed"


KINDS = (
    data_bit,
    checksum_bit,
    header_bit,
    cut,
    lost_write,
    misdirected_write,
    foreign_file,
    gone,
)
