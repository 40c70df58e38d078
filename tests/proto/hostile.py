#!/usr/bin/env python3
"""What a hostile front-end or guest tries that is about time, or about others than itself."""
import mmap
import os
import socket
import struct

from front import *  # noqa: F403  pylint: disable=wildcard-import,unused-wildcard-import


class PackedInflight:
    """The in-flight region of a packed ring, as an earlier life would have left it."""

    def __init__(self, size):
        self.size, self.fd = size, os.memfd_create("inflight")
        os.ftruncate(self.fd, 4096)
        self.map = mmap.mmap(self.fd, 4096)
        # version, desc_num, free_head, used_idx, wrap counters
        struct.pack_into("<QHHHHHHBB", self.map, 0, 0, 1, size, 1, 1, 0, 0, 1, 1)

    def entry(self, i, num, flags, length, addr, inflight=0):
        struct.pack_into("<BxHHHQHHIQ", self.map, 32 + 32 * i, inflight, i + 1, i + num - 1, num,
                         0, 7, flags, length, addr)

    def describe(self):
        return struct.pack("<QQHHI", 4096, 0, 1, self.size, 0)


@case
def a_packed_record_that_grows_after_it_was_counted():
    with Vubox(device="rng") as v:
        f = FrontEnd(v.path)
        f.negotiate(features=f.ask_u64(GET_FEATURES))
        f.share()
        size, base = 8, f.memory[0].guest
        desc, driver, device, buffer = base, base + 0x1000, base + 0x2000, base + 0x3000
        record, kick = PackedInflight(size), os.eventfd(0)
        for i in range(size):
            record.entry(i, 1, WRITE, 64, buffer, inflight=i == 0)
        assert f.acked(SET_INFLIGHT_FD, record.describe(), [record.fd]) == 0
        f.send(SET_VRING_NUM, struct.pack("<II", 0, size))
        f.send(SET_VRING_BASE, struct.pack("<II", 0, 0x80008000))
        f.send(SET_VRING_ADDR, struct.pack("<IIQQQQ", 0, 0, f.user(desc), f.user(device),
                                           f.user(driver), 0))
        assert f.acked(SET_VRING_KICK, bytes(8), [kick]) == 0
        # It was found to have one descriptor; now it says that it has as many as the ring.
        for i in range(size):
            record.entry(i, size - i, WRITE | (NEXT if i < size - 1 else 0), 64 if i == 0 else 0,
                         buffer, inflight=i == 0)
        f.send(SET_VRING_ENABLE, struct.pack("<II", 0, 1))
        assert f.is_open() and f.is_open()
        # A chain without an end, for whoever takes it to be longer than the ring.
        for i in range(size):
            avail = 0x80 if i else 0
            f.write(desc + 16 * i, struct.pack("<QIHH", buffer, 0, 0, avail | WRITE | NEXT))
        os.write(kick, struct.pack("<Q", 1))
        for _ in range(3):
            assert f.is_open(), "it does not come back from the chain"


@case
def a_front_end_cannot_flood_the_log():
    with Disk() as d:
        for _ in range(40):
            for payload, fds in (bytes(4), ()), (b"", [d.vubox.log.fileno()]):
                f = FrontEnd(d.path)
                f.send(GET_FEATURES, payload, fds)
                assert f.is_closed()
                f.close()
        lines = d.vubox.said().count("\n")
        assert 2 <= lines <= 30, f"{lines} lines for 80 connections"


TWO = "--socket-path=@/sock", "--", "rng", "--socket-path=@/two"


def neighbour(disk):
    """A front-end of the other device of a process that was started with TWO."""
    path = os.path.join(disk.vubox.dir, "two")
    until(lambda: os.path.exists(path), "the other device listens")
    other = FrontEnd(path)
    assert other.is_open()
    return other


def lingering():
    """A socket whose last close waits for its peer, which never reads, for an hour."""
    listener = socket.create_server(("127.0.0.1", 0))
    one = socket.create_connection(listener.getsockname())
    two, _ = listener.accept()
    one.setblocking(False)
    try:
        while True:
            one.send(bytes(1 << 16))
    except BlockingIOError:
        pass
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
    return one, two


@case
def a_socket_that_lingers_is_closed_at_once():
    with Disk(*TWO) as d:
        other = neighbour(d)
        for request, count in ((GET_FEATURES, 1), (GET_FEATURES, 60), (SET_VRING_CALL, 1)):
            f = FrontEnd(d.path)
            one, two = lingering()
            payload = bytes(8) if request == SET_VRING_CALL else b""
            f.send(request, payload, [one.fileno()] * count)
            os.close(one.detach())
            if request == SET_VRING_CALL:
                f.send(GET_VRING_BASE, bytes(8))
                assert f.is_open()
                f.close()
            else:
                assert f.is_closed()
            assert other.is_open(), "a close of another device waits"
            two.close()


main()
