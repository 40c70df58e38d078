#!/usr/bin/env python3
"""The memory map: regions of every shape, hot-plug, and files that shrink."""
import mmap
import os
import struct

from front import *  # noqa: F403  pylint: disable=wildcard-import,unused-wildcard-import


@case
def one_region_in_72_bytes_is_enough():
    with Disk() as d:
        f = FrontEnd(d.path)
        f.negotiate()
        payload = struct.pack("<II", 1, 0) + f.memory[0].describe() + bytes(32)
        assert f.acked(SET_MEM_TABLE, payload, [f.memory[0].fd]) == 0


@case
def bad_regions_are_refused():
    with Disk() as d:
        f = FrontEnd(d.path)
        f.negotiate()
        fd = f.memory[0].fd
        size = f.memory[0].size

        def add(guest, length, user, offset, fd=fd):
            return f.acked(ADD_MEM_REG, struct.pack("<QQQQQ", 0, guest, length, user, offset), [fd])

        before = d.vubox.fds()
        assert add(0x1000, 0, 0x1000, 0) != 0, "empty"
        assert add(2**64 - 4096, 8192, 0x1000, 0) != 0, "wraps"
        assert add(0x1000, 8192, 2**64 - 4096, 0) != 0, "user address wraps"
        assert add(0x1000, size + 4096, 0x1000, 0) != 0, "larger than its file"
        assert add(0x1000, 4096, 0x1000, 2**64 - 4096) != 0, "offset wraps"
        assert add(0x1000, 4096, 0x1000, size) != 0, "behind its file"
        assert add(0x1000, 4096, 0x1000, 0, os.pipe()[0]) != 0, "a pipe"
        assert add(0x1000, 4096, 0x1000, 0, os.open("/proc/version", os.O_RDONLY)) != 0
        assert add(0x10000, 0x10000, 0x10000, 0) == 0
        assert add(0x18000, 0x10000, 0x90000, 0) != 0, "overlaps by guest address"
        assert add(0x90000, 0x10000, 0x18000, 0) != 0, "overlaps by user address"
        assert d.vubox.fds() == before


@case
def removed_regions_are_gone():
    with Disk() as d:
        f = FrontEnd(d.path)
        f.negotiate()
        m = f.memory[0]
        assert f.acked(ADD_MEM_REG, bytes(8) + m.describe(), [m.fd]) == 0
        maps, fds = d.vubox.maps(), d.vubox.fds()
        other = struct.pack("<QQQQQ", 0, m.guest, m.size, m.user + 4096, 0)
        assert f.acked(REM_MEM_REG, other) != 0
        # "If a file descriptor is passed, the back-end MUST close it"
        assert f.acked(REM_MEM_REG, bytes(8) + m.describe(), [m.fd]) == 0
        assert d.vubox.maps() == maps - 1 and d.vubox.fds() == fds
        assert f.acked(REM_MEM_REG, bytes(8) + m.describe()) != 0


@case
def slots_509_and_no_more():
    with Disk() as d:
        m = Memory(size=4096 * 600, guest=0x100000)
        f = FrontEnd(d.path, [m])
        f.negotiate()

        def region(i):
            return struct.pack("<QQQQQ", 0, m.guest + i * 8192, 4096, m.user + i * 8192, i * 4096)

        for i in range(509):
            assert f.acked(ADD_MEM_REG, region(i * 7 % 509), [m.fd]) == 0, i
        assert f.acked(ADD_MEM_REG, region(509), [m.fd]) != 0
        for i in range(509):
            assert f.acked(REM_MEM_REG, region(i)) == 0, i


@case
def user_and_guest_addresses_may_differ():
    for user in 0x10000, 0xffff_8000_0000_0000, 0x40000000:
        with Disk(content=b"A" * 4096) as d:
            f = ready(d.path, memory=[Memory(guest=0x40000000, user=user)])
            assert blk(f, IN, 0, length=512)[:2] == (OK, b"A" * 512)


@case
def offsets_of_any_alignment():
    for offset in 4096, 512, 0x1230, 8, 65536 + 64:
        with Disk(content=b"B" * 4096) as d:
            f = ready(d.path, memory=[Memory(offset=offset)])
            assert blk(f, IN, 0, length=1024)[:2] == (OK, b"B" * 1024), offset
            assert blk(f, OUT, 2, b"C" * 512)[0] == OK
            assert d.bytes(1024, 512) == b"C" * 512


@case
def a_region_of_6_gib():
    with Disk(content=b"D" * 4096) as d:
        big = Memory(size=6 << 30, guest=1 << 32)
        f = FrontEnd(d.path, [Memory(guest=0), big])
        f.negotiate()
        f.share()
        f.start_ring(f.add_ring())
        high = (5 << 30) + 4096
        window = mmap.mmap(big.fd, 8192, offset=high)
        ring = f.rings[0]
        buffers = blk_buffers(f, IN, 0)
        buffers.insert(1, (big.guest + high, 512, True))
        ring.chain(buffers)
        ring.offer(0)
        assert ring.take_used() == (0, 513)
        assert window[:512] == b"D" * 512


@case
def a_buffer_over_two_regions():
    with Disk() as d:
        half = 0x300000 + 4096 - 777  # in the middle of the data
        a = Memory(size=half // 4096 * 4096 + 4096, guest=0x10000000)
        b = Memory(size=4 << 20, guest=a.guest + a.size, user=0x1234_0000_0000)
        f = ready(d.path, memory=[a, b])
        data = bytes(i * 7 & 255 for i in range(8192))
        edge = a.guest + a.size
        assert f.memory[0].guest + DATA_AT < edge < f.memory[0].guest + DATA_AT + len(data)
        assert blk(f, OUT, 0, data)[0] == OK
        assert d.bytes(0, 8192) == data
        assert blk(f, IN, 0, length=8192)[:2] == (OK, data)


@case
def memory_is_plugged_and_unplugged_while_rings_run():
    with Disk(content=b"E" * 4096) as d:
        f = FrontEnd(d.path)
        f.negotiate()
        assert f.acked(ADD_MEM_REG, bytes(8) + f.memory[0].describe(), [f.memory[0].fd]) == 0
        f.start_ring(f.add_ring())
        more = Memory(size=1 << 20, guest=0x80000000)
        for _ in range(20):
            assert f.acked(ADD_MEM_REG, bytes(8) + more.describe(), [more.fd]) == 0
            ring = f.rings[0]
            buffers = blk_buffers(f, IN, 0)
            buffers.insert(1, (more.guest, 512, True))
            ring.chain(buffers)
            ring.offer(0)
            assert ring.take_used() == (0, 513) and more.map[:512] == b"E" * 512
            more.map[:512] = bytes(512)
            assert f.acked(REM_MEM_REG, bytes(8) + more.describe()) == 0
            ring.chain(buffers)
            ring.offer(0)
            assert ring.take_used() == (0, 1), "the address is nowhere now"
            status = f.read(f.memory[0].guest + STATUS_AT, 1)[0]
            assert status == IOERR and more.map[:512] == bytes(512)


@case
def a_new_table_while_rings_run():
    with Disk(content=b"F" * 4096) as d:
        f = ready(d.path)
        for _ in range(20):
            f.share()
            assert blk(f, IN, 0, length=512)[:2] == (OK, b"F" * 512)
        maps = d.vubox.maps()
        f.share()
        assert f.is_open() and d.vubox.maps() == maps


@case
def a_ring_whose_memory_goes_waits_and_comes_back():
    with Disk() as d:
        f = ready(d.path)
        m = f.memory[0]
        ring = f.rings[0]
        assert f.acked(REM_MEM_REG, bytes(8) + m.describe()) == 0
        ring.kick_now()
        until(lambda: select.select([ring.err], [], [], 0)[0], "the err notification")
        assert f.acked(ADD_MEM_REG, bytes(8) + m.describe(), [m.fd]) == 0
        assert blk(f, OUT, 0, b"x" * 512)[0] == OK
        f.start_ring(ring, base=ring.avail_idx)
        assert blk(f, OUT, 0, b"x" * 512)[0] == OK


@case
def a_memory_file_that_shrinks_costs_only_its_connection():
    for engine in "uring", "sync", "mmap":
        with Disk("--io=" + engine, content=b"G" * 4096) as d:
            before = d.vubox.fds()
            f = ready(d.path)
            assert blk(f, IN, 0, length=512)[0] == OK
            os.ftruncate(f.memory[0].fd, 0)
            f.rings[0].kick_now()
            assert f.is_closed()
            assert "shrunk" in d.vubox.said()
            until(lambda: d.vubox.fds() == before, "descriptors are closed")
            g = ready(d.path)
            assert blk(g, IN, 0, length=512)[:2] == (OK, b"G" * 512)


main()
