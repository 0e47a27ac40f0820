#!/usr/bin/env python3
"""Thrift's own Python library, with code that its compiler made from idl/, talks to our server.

Usage: stock_client_test.py GENERATED_CODE (HOST:PORT | SERVER_PROGRAM)
Exit code 77: the Thrift library for Python is not installed (Debian: python3-thrift).
"""
import subprocess
import sys
import unittest

try:
    from thrift import Thrift
    from thrift.protocol import TCompactProtocol
    from thrift.transport import TSocket, TTransport
except ImportError:
    print(
        "SKIPPED: no thrift library for this Python; apt-get install python3-thrift",
        file=sys.stderr,
    )
    sys.exit(77)

sys.path.insert(0, sys.argv[1])
# pylint: disable=wrong-import-position
from moraine.chunkserver import Chunkserver
from moraine.chunkserver.ttypes import ReadRequest
from moraine.common.constants import kProtocolVersion
from moraine.common.ttypes import CallError, HandshakeRequest, RequestHeader, Role
from moraine.metaserver import Administration, Namespace, Sessions
from moraine.metaserver.ttypes import (
    Empty,
    EntryRequest,
    FileType,
    InodeRequest,
    StartSessionRequest,
)

# Of base/status.h.
NOT_FOUND, WRONG_CLUSTER, WRONG_VERSION, WRONG_ROLE = 2, 105, 106, 107
ADDRESS = ["127.0.0.1", 0]


class StockClient(unittest.TestCase):
    def setUp(self):
        socket = TSocket.TSocket(*ADDRESS)
        socket.setTimeout(30_000)
        self.transport = TTransport.TFramedTransport(socket)
        self.protocol = TCompactProtocol.TCompactProtocol(self.transport)
        self.transport.open()
        self.addCleanup(self.transport.close)

    def client(self, service):
        return service.Client(self.protocol)

    def shake_hands(self, **changes):
        request = HandshakeRequest(
            version=kProtocolVersion, role=Role.kTool, cluster="", name="stock"
        )
        for name, value in changes.items():
            setattr(request, name, value)
        return self.client(Administration).handshake(RequestHeader(), request)

    def code_of(self, call, *args):
        with self.assertRaises(CallError) as caught:
            call(*args)
        return caught.exception.code

    def test_handshake_says_who_answers(self):
        response = self.shake_hands()
        self.assertEqual(response.version, kProtocolVersion)
        self.assertEqual(response.role, Role.kMetaserver)
        self.assertTrue(response.cluster)

    def test_a_control_call(self):
        cluster = self.shake_hands().cluster
        status = self.client(Administration).clusterStatus(
            RequestHeader(timeout_ms=10_000), Empty()
        )
        self.assertEqual(status.cluster, cluster)
        if cluster == "stock":  # the server of this folder
            self.assertEqual(status.inodes, 1_000_000_007)
            self.assertEqual(status.user_bytes, 1 << 50)
            self.assertEqual([s.location for s in status.servers], ["z/r/h"] * 2)

    def test_an_error_is_the_declared_exception(self):
        self.shake_hands()
        with self.assertRaises(CallError) as caught:
            self.client(Namespace).getAttributes(RequestHeader(), InodeRequest(inode=-5))
        self.assertEqual(caught.exception.code, NOT_FOUND)
        self.assertIn("-5", caught.exception.message)

    def test_an_unknown_method_and_then_a_known_one(self):
        if self.shake_hands().cluster != "stock":
            self.skipTest("this server knows all of them")
        for call, request in (
            (self.client(Namespace).lookup, EntryRequest(parent=1, name="x")),
            (self.client(Sessions).startSession, StartSessionRequest(name="x")),
        ):
            with self.assertRaises(Thrift.TApplicationException) as caught:
                call(RequestHeader(), request)
            self.assertEqual(caught.exception.type, Thrift.TApplicationException.UNKNOWN_METHOD)
        answer = self.client(Namespace).getAttributes(RequestHeader(), InodeRequest(inode=7))
        self.assertEqual(answer.attributes.inode, 7)
        self.assertEqual(answer.attributes.type, FileType.kRegular)
        self.assertEqual(answer.attributes.mtime_ns, -1)
        self.assertIsNone(answer.symlink_target)

    def test_many_calls_on_one_connection(self):
        if self.shake_hands().cluster != "stock":
            self.skipTest("needs made-up inodes")
        client = self.client(Namespace)
        for inode in range(2000):
            self.assertEqual(
                client.getAttributes(RequestHeader(), InodeRequest(inode=inode)).attributes.inode,
                inode,
            )

    def test_a_refused_handshake_says_why_and_ends_the_connection(self):
        self.assertEqual(self.code_of(lambda: self.shake_hands(version=0)), WRONG_VERSION)
        with self.assertRaises((TTransport.TTransportException, EOFError, OSError)):
            self.shake_hands()

    def test_another_cluster_is_refused(self):
        self.assertEqual(
            self.code_of(lambda: self.shake_hands(cluster="not-this-one")), WRONG_CLUSTER
        )

    def test_nothing_comes_before_the_handshake(self):
        call = self.client(Namespace).getAttributes
        self.assertEqual(self.code_of(call, RequestHeader(), InodeRequest(inode=1)), WRONG_ROLE)

    def test_the_length_of_raw_bytes_does_not_disturb_a_stock_reader(self):
        if self.shake_hands().cluster != "stock":
            self.skipTest("a metaserver has no such call")
        answer = self.client(Chunkserver).read(
            RequestHeader(), ReadRequest(chunk=1, offset=0, length=1000)
        )
        self.assertEqual(answer.visible, 1000)
        # They follow the frame; whoever knows of them can take them from the socket.
        raw = self.transport._TFramedTransport__trans.readAll(
            1000
        )  # pylint: disable=protected-access
        self.assertEqual(raw, b"\x5a" * 1000)
        again = self.client(Namespace).getAttributes(RequestHeader(), InodeRequest(inode=9))
        self.assertEqual(again.attributes.inode, 9)


def main():
    target = sys.argv[2]
    server = None
    if ":" in target:
        ADDRESS[:] = target.split(":")
    else:
        server = subprocess.Popen(
            [target], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        ADDRESS[1] = int(server.stdout.readline())
    result = unittest.main(argv=sys.argv[:1], exit=False, verbosity=2).result
    good = result.wasSuccessful() and result.testsRun > 0
    if server is not None:
        server.stdin.close()
        code = server.wait(timeout=30)
        if code != 0:
            print(f"the server ended with {code}", file=sys.stderr)
            good = False
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
