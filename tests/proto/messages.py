#!/usr/bin/env python3
"""Every message of the protocol, and every way to get it wrong, against the real binary."""
import os
import socket
import struct

from front import *  # noqa: F403  pylint: disable=wildcard-import,unused-wildcard-import

STATE = struct.pack("<II", 0, 0)
# Messages of features that vubox does not offer, with the size of their payload and of their reply.
NOT_OFFERED = {
    6: ("SET_LOG_BASE", 16, None), 7: ("SET_LOG_FD", 0, None), 19: ("SEND_RARP", 8, None),
    20: ("NET_SET_MTU", 8, None), 22: ("IOTLB_MSG", 40, 8), 23: ("SET_VRING_ENDIAN", 8, None),
    26: ("CREATE_CRYPTO_SESSION", 64, 0), 27: ("CLOSE_CRYPTO_SESSION", 8, None),
    28: ("POSTCOPY_ADVISE", 0, 0), 29: ("POSTCOPY_LISTEN", 0, None), 30: ("POSTCOPY_END", 0, 8),
    33: ("GPU_SET_SOCKET", 0, None), 35: ("VRING_KICK", 8, None),
    41: ("GET_SHARED_OBJECT", 16, 0), 42: ("SET_DEVICE_STATE_FD", 8, 8),
    43: ("CHECK_DEVICE_STATE", 0, 8), 44: ("GET_SHMEM_CONFIG", 0, 0),
}


@case
def features_are_offered():
    with Disk() as d:
        f = FrontEnd(d.path)
        offered = f.ask_u64(GET_FEATURES)
        for bit in F_VERSION_1, F_INDIRECT, F_EVENT_IDX, F_PROTOCOL:
            assert offered & bit, hex(offered)
        protocol = f.ask_u64(GET_PROTOCOL_FEATURES)
        want = P_MQ | P_REPLY_ACK | P_BACKEND_REQ | P_CONFIG | P_INFLIGHT | P_RESET | P_SLOTS
        assert protocol == want | P_STATUS | P_BASE_INFLIGHT | P_SKIP_DRAIN, hex(protocol)


@case
def every_message_not_offered_is_refused_with_an_ack():
    with Disk() as d:
        f = FrontEnd(d.path)
        f.negotiate()
        for request, (name, size, reply) in NOT_OFFERED.items():
            answer = f.ask(request, bytes(size), flags=1 | NEED_REPLY)[1]
            assert len(answer) == (8 if reply is None else reply), name
            assert not answer or any(answer), name + " was acked as done"
        assert f.is_open()


@case
def every_message_not_offered_leaves_the_connection_sane():
    with Disk() as d:
        f = FrontEnd(d.path)
        f.negotiate()
        for request, (name, size, reply) in NOT_OFFERED.items():
            f.send(request, bytes(size))
            if reply is not None:
                assert f.receive()[0] == request, name
            assert f.is_open(), name


@case
def unknown_messages_are_refused():
    with Disk() as d:
        f = FrontEnd(d.path)
        f.negotiate()
        for request in 0, 46, 64, 1000, 0xffffffff:
            assert f.acked(request, b"x" * 24) != 0
            f.send(request)
            assert f.is_open()


@case
def a_feature_that_was_not_offered_is_refused():
    with Disk() as d:
        f = FrontEnd(d.path)
        offered = f.negotiate()
        assert f.acked(SET_FEATURES, struct.pack("<Q", offered | 1 << 37)) != 0
        assert f.acked(SET_FEATURES, struct.pack("<Q", offered)) == 0
        assert f.acked(SET_PROTOCOL_FEATURES, struct.pack("<Q", 1 << 14 | P_REPLY_ACK)) != 0


@case
def set_protocol_features_itself_is_acked():
    with Disk() as d:
        f = FrontEnd(d.path)
        f.send(SET_OWNER)  # User Mode Linux sends it before anything else
        protocol = f.ask_u64(GET_PROTOCOL_FEATURES)
        assert f.acked(SET_PROTOCOL_FEATURES, struct.pack("<Q", protocol)) == 0


@case
def no_ack_before_reply_ack_is_negotiated():
    with Disk() as d:
        f = FrontEnd(d.path)
        f.send(SET_OWNER, flags=1 | NEED_REPLY)
        assert f.ask(GET_FEATURES)[0] == GET_FEATURES


@case
def messages_that_need_a_feature_need_it():
    with Disk() as d:
        f = FrontEnd(d.path)
        f.negotiate(protocol=P_REPLY_ACK)
        for request, payload in ((GET_CONFIG, bytes(12 + 60)), (SET_CONFIG, bytes(13)),
                                 (SET_BACKEND_REQ_FD, b""), (RESET_DEVICE, b""),
                                 (SET_STATUS, bytes(8)), (GET_MAX_MEM_SLOTS, b"")):
            answer = f.ask(request, payload, flags=1 | NEED_REPLY)[1]
            assert not answer or any(answer), f"request {request} worked without its feature"


@case
def queue_num_and_slots():
    with Disk("--num-queues=7") as d:
        f = FrontEnd(d.path)
        f.negotiate()
        assert f.ask_u64(GET_QUEUE_NUM) == 7
        assert f.ask_u64(GET_MAX_MEM_SLOTS) == 509


def closes(data, fds=(), say=None):
    """Sending this closes this connection, and nothing else; and no descriptor is left."""
    with Disk() as d:
        before = d.vubox.fds()
        f = FrontEnd(d.path)
        f.negotiate()
        f.send_raw(data, fds)
        assert f.is_closed(), "still open"
        until(lambda: d.vubox.fds() == before, "descriptors are closed")
        g = ready(d.path)
        assert blk(g, OUT, 0, b"x" * 512)[0] == OK
        if say:
            assert say in d.vubox.said(), d.vubox.said()


@case
def a_wrong_version_closes():
    closes(struct.pack("<III", GET_FEATURES, 2, 0), say="version")


@case
def a_reply_to_nothing_closes():
    closes(struct.pack("<III", GET_FEATURES, 5, 0), say="reply")


@case
def an_absurd_size_closes():
    closes(struct.pack("<III", SET_FEATURES, 1, 0xffffffff), say="long")
    closes(struct.pack("<III", 1000, 1, 4097), say="long")


@case
def wrong_sizes_close():
    for request, size in ((GET_FEATURES, 8), (SET_FEATURES, 0), (SET_FEATURES, 7),
                          (SET_FEATURES, 9),
                          (SET_VRING_ADDR, 39), (SET_VRING_NUM, 4), (SET_MEM_TABLE, 4),
                          (SET_VRING_KICK, 16), (SET_MEM_TABLE, 1000), (GET_CONFIG, 4)):
        closes(struct.pack("<III", request, 1, size) + bytes(size), say="wrong size")


@case
def surplus_descriptors_close_and_do_not_leak():
    r, w = os.pipe()
    closes(struct.pack("<III", GET_FEATURES, 1, 0), [r], say="descriptors")
    closes(struct.pack("<IIIQ", SET_VRING_KICK, 1, 8, 0), [r, w], say="descriptors")
    for count in 9, 10, 100, 253:
        closes(struct.pack("<III", SET_OWNER, 1, 0), [r] * count, say="descriptors")


@case
def missing_descriptors_are_refused():
    with Disk() as d:
        f = FrontEnd(d.path)
        f.negotiate()
        for request in SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR:
            assert f.acked(request, struct.pack("<Q", 0)) != 0
        assert f.acked(SET_MEM_TABLE, struct.pack("<II", 1, 0) + f.memory[0].describe()) != 0
        assert f.acked(ADD_MEM_REG, bytes(8) + f.memory[0].describe()) != 0
        assert f.acked(SET_BACKEND_REQ_FD) != 0
        assert f.acked(SET_INFLIGHT_FD, struct.pack("<QQHHI", 4096, 0, 1, 128, 0)) != 0


@case
def an_error_that_nobody_hears_closes():
    with Disk() as d:
        f = FrontEnd(d.path)
        f.negotiate()
        f.send(SET_VRING_NUM, struct.pack("<II", 0, 3))
        assert f.is_closed()
        assert FrontEnd(d.path).is_open()


@case
def queue_indices_are_checked():
    with Disk("--num-queues=2") as d:
        f = FrontEnd(d.path)
        f.negotiate()
        for index in 2, 3, 64, 255, 0xffffffff:
            for request in SET_VRING_NUM, SET_VRING_BASE, SET_VRING_ENABLE:
                assert f.acked(request, struct.pack("<II", index, 1)) != 0
            assert f.acked(SET_VRING_ADDR, struct.pack("<IIQQQQ", index, 0, 0, 0, 0, 0)) != 0
        for index in 2, 255:
            assert f.acked(SET_VRING_KICK, struct.pack("<Q", index), [os.eventfd(0)]) != 0
        f.send(GET_VRING_BASE, struct.pack("<II", 9, 0))
        assert f.is_closed()


@case
def ring_sizes_are_checked():
    with Disk("--queue-size=256") as d:
        f = FrontEnd(d.path)
        f.negotiate()
        for size in 0, 3, 100, 257, 512, 1024, 65536, 0x80000000:
            assert f.acked(SET_VRING_NUM, struct.pack("<II", 0, size)) != 0, size
        for size in 1, 2, 4, 128, 256:
            assert f.acked(SET_VRING_NUM, struct.pack("<II", 0, size)) == 0, size
        assert f.acked(SET_VRING_BASE, struct.pack("<II", 0, 65536)) != 0
        assert f.acked(SET_VRING_ENABLE, struct.pack("<II", 0, 2)) != 0


@case
def one_byte_at_a_time():
    with Disk() as d:
        f, other = FrontEnd(d.path), None
        for byte in struct.pack("<III", GET_FEATURES, 1, 0):
            f.send_raw(bytes([byte]))
        assert f.receive()[0] == GET_FEATURES
        for byte in struct.pack("<IIIQ", SET_FEATURES, 1, 8, F_VERSION_1):
            f.send_raw(bytes([byte]))
        assert f.is_open() and other is None


@case
def many_messages_in_one_write():
    with Disk() as d:
        f = FrontEnd(d.path)
        f.send_raw(struct.pack("<III", GET_FEATURES, 1, 0) * 500)
        for _ in range(500):
            assert f.receive()[0] == GET_FEATURES


@case
def a_hang_up_in_every_place():
    whole = struct.pack("<IIIQ", SET_VRING_KICK, 1, 8, 0)
    with Disk() as d:
        before = d.vubox.fds()
        for length in range(len(whole)):
            f = FrontEnd(d.path)
            if length:
                f.send_raw(whole[:length], [os.eventfd(0)])
            f.close()
        until(lambda: d.vubox.fds() == before, "descriptors are closed")
        assert FrontEnd(d.path).is_open()


@case
def a_front_end_that_never_reads_waits_for_itself():
    with Disk() as d:
        f = FrontEnd(d.path)
        f.socket.settimeout(0.5)
        sent = 0
        try:
            while True:
                f.send_raw(struct.pack("<III", GET_FEATURES, 1, 0))
                sent += 1
        except TimeoutError:
            pass
        ticks = d.vubox.cpu_ticks()
        time.sleep(0.5)
        assert d.vubox.cpu_ticks() - ticks < 5, "it spins"
        for _ in range(sent):
            assert f.receive()[0] == GET_FEATURES
        f.socket.settimeout(WAIT_S)
        assert f.is_open()
        f.close()
        until(lambda: FrontEnd(d.path).is_open(), "the next one is served")


@case
def config_space_is_served_up_to_256_bytes():
    with Disk(size=3 << 20) as d:
        f = FrontEnd(d.path)
        f.negotiate()
        for offset, size in ((0, 60), (0, 64), (0, 256), (8, 4), (255, 1), (256, 0)):
            payload = struct.pack("<III", offset, size, 0) + bytes(size)
            answer = f.ask(GET_CONFIG, payload)[1]
            assert len(answer) == 12 + size, (offset, size)
        answer = f.ask(GET_CONFIG, struct.pack("<III", 0, 256, 0) + bytes(256))[1][12:]
        assert struct.unpack("<Q", answer[:8])[0] == (3 << 20) // 512
        assert answer[64:] == bytes(192), "what does not exist is zero"
        for offset, size in ((0, 257), (256, 1), (1, 256), (0xffffffff, 2)):
            payload = struct.pack("<III", offset, size, 0) + bytes(min(size, 256))
            assert f.ask(GET_CONFIG, payload)[1] == b"", "an error is an empty payload"
        assert f.is_open()


@case
def only_writeback_can_be_written():
    with Disk() as d:
        f = FrontEnd(d.path)
        f.negotiate()

        def put(offset, data, flags=0):
            return f.acked(SET_CONFIG, struct.pack("<III", offset, len(data), flags) + data)

        def writeback():
            payload = struct.pack("<III", 32, 1, 0) + b"x"
            return f.ask(GET_CONFIG, payload)[1][12]

        assert writeback() == 1
        assert put(32, b"\0") == 0 and writeback() == 0
        assert put(32, b"\1") == 0 and writeback() == 1
        assert put(32, b"\2") != 0 and writeback() == 1
        assert put(0, bytes(8)) != 0 and put(31, bytes(2)) != 0 and put(255, bytes(9)) != 0
        assert put(0, bytes(60), 1) == 0 and writeback() == 0, "live migration restores it"


@case
def status_is_kept_and_reset():
    with Disk() as d:
        f = ready(d.path)
        assert f.acked(SET_STATUS, struct.pack("<Q", 15)) == 0
        assert f.ask_u64(GET_STATUS) == 15
        assert f.acked(SET_STATUS, struct.pack("<Q", 256)) != 0
        assert f.acked(SET_STATUS, struct.pack("<Q", 0)) == 0
        assert f.ask_u64(GET_STATUS) == 0
        ring = f.rings[0]
        ring.chain(blk_buffers(f, GET_ID, 0, length=20))
        ring.offer(0)
        assert f.is_open() and ring.in_used() == 0, "a reset ring was processed"


@case
def reset_device_stops_rings():
    with Disk() as d:
        f = ready(d.path)
        assert blk(f, OUT, 0, b"x" * 512)[0] == OK
        assert f.acked(RESET_DEVICE) == 0
        ring = f.rings[0]
        ring.offer(0)
        assert f.is_open() and ring.in_used() == 0
        f.set_u64(SET_FEATURES, f.features)
        ring.start_at(0)
        f.start_ring(ring)
        assert blk(f, IN, 0, length=512)[:2] == (OK, b"x" * 512)


@case
def growth_is_announced_on_the_back_end_channel():
    with Disk(size=1 << 20) as d:
        f = ready(d.path)
        ours, theirs = socket.socketpair()
        ours.settimeout(WAIT_S)
        assert f.acked(SET_BACKEND_REQ_FD, b"", [theirs.fileno()]) == 0
        os.truncate(d.image, 2 << 20)
        d.vubox.process.send_signal(1)
        assert struct.unpack("<III", ours.recv(12)) == (2, 1, 0)
        answer = f.ask(GET_CONFIG, struct.pack("<III", 0, 8, 0) + bytes(8))[1]
        assert struct.unpack("<Q", answer[12:])[0] == 4096
        assert blk(f, OUT, 4095, b"y" * 512)[0] == OK


@case
def a_suspended_device_sends_nothing():
    with Disk(size=1 << 20) as d:
        f = ready(d.path)
        ours, theirs = socket.socketpair()
        assert f.acked(SET_BACKEND_REQ_FD, b"", [theirs.fileno()]) == 0
        f.stop_ring(f.rings[0])
        f.rings[0].calls()
        os.truncate(d.image, 2 << 20)
        d.vubox.process.send_signal(1)
        payload = struct.pack("<III", 0, 8, 0) + bytes(8)
        until(lambda: f.ask(GET_CONFIG, payload)[1][12:] == struct.pack("<Q", 4096), "growth")
        ours.setblocking(False)
        try:
            raise AssertionError(f"it sent {ours.recv(100)}")
        except BlockingIOError:
            pass
        assert f.rings[0].calls() == 0
        ours.setblocking(True)
        f.start_ring(f.rings[0], base=f.rings[0].avail_idx)
        assert ours.recv(12)[:4] == struct.pack("<I", 2), "it is said when a ring starts"


main()
