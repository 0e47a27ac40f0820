"""Looks into the chunk files of a cluster's chunkservers: chunkserver/CHUNK_FILE.md, read only.

A replica is compared by what its format gives a meaning to: the header's fields, the checksums of
its blocks, the bytes below its length. What lies beside them (the rest of the header page, unused
checksums) says nothing.
"""
import glob
import hashlib
import os
import struct

PAGE = 4096
GROUP_BLOCKS = 512
GROUP_BYTES = GROUP_BLOCKS * PAGE
SECTOR = 512
SEALED = 2


def checksum_page(group):
    return PAGE + group * (PAGE + GROUP_BYTES)


def place_of(offset):
    """Where the chunk's byte at `offset` lies in the file."""
    return checksum_page(offset // GROUP_BYTES) + PAGE + offset % GROUP_BYTES


def blocks_of(length):
    return (length + PAGE - 1) // PAGE


def file_bytes(length):
    return PAGE if length == 0 else place_of((blocks_of(length) - 1) * PAGE) + PAGE


class Replica:
    def __init__(self, path):
        self.path = path
        with open(path, "rb") as file:
            data = file.read()
        self.size = len(data)
        if data[:8] != b"MRNCHUNK" or len(data) < SECTOR:
            self.state = self.chunk = self.length = self.wanted = None
            self.digest = "no chunk file"
            return
        self.state, self.chunk = struct.unpack_from("<IQ", data, 12)
        self.length = struct.unpack_from("<Q", data, 56)[0]
        self.wanted = struct.unpack_from("<H", data, 64)[0]
        if self.size < file_bytes(self.length):  # so is a damaged length, which would take for ever
            self.digest = "short"
            return
        digest = hashlib.sha256()
        # Chunk and place in the file; the incarnation, the epoch and so the checksum of the header
        # are the replica's own.
        digest.update(data[8:24] + data[40:64] + data[72:204])
        for begin in range(0, self.length, GROUP_BYTES):
            size = min(GROUP_BYTES, self.length - begin)
            page = checksum_page(begin // GROUP_BYTES)
            digest.update(data[page : page + 8 * blocks_of(size)])
            digest.update(data[page + PAGE : page + PAGE + size])
        self.digest = digest.hexdigest()


def header(path):
    """The sector with the header, as it is on the disk; None when there is no file."""
    try:
        with open(path, "rb") as file:
            return file.read(SECTOR)
    except FileNotFoundError:
        return None


def paths(directory):
    return sorted(glob.glob(os.path.join(directory, "chunks", "*", "*.chunk")))


def replicas(cluster):
    """{chunk id: {chunkserver's name: path}}."""
    found = {}
    for name in cluster.chunkservers():
        for path in paths(cluster.directory_of(name)):
            chunk = int(os.path.basename(path).split(".")[0], 16)
            found.setdefault(chunk, {})[name] = path
    return found


def differences(cluster):
    """What keeps the replicas from agreeing, in words; empty when all are alike and sealed."""
    wrong = []
    for chunk, by_server in sorted(replicas(cluster).items()):
        try:
            seen = {name: Replica(path) for name, path in by_server.items()}
        except FileNotFoundError:
            wrong.append("chunk %d is being moved" % chunk)
            continue
        digests = {replica.digest for replica in seen.values()}
        states = {replica.state for replica in seen.values()}
        wanted = {replica.wanted for replica in seen.values()}
        if len(digests) > 1 or states != {SEALED} or wanted != {len(seen)}:
            wrong.append(
                "chunk %d: %s"
                % (
                    chunk,
                    ", ".join(
                        "%s state %s length %s of %s copies %.8s"
                        % (name, r.state, r.length, r.wanted, r.digest)
                        for name, r in sorted(seen.items())
                    ),
                )
            )
    return wrong
