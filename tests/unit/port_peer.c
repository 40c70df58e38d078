/* port/peer.c: unix sockets that carry the bytes of guests. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "port.h"
#include "unit.h"

static char memory[1 << 16];
static char path[100];

static struct span at(size_t offset, size_t len)
{
	return (struct span){ (struct guest *)(void *)(memory + offset), len };
}

static int listen_at(int type)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	char dir[] = "/var/tmp/vubox-peer-XXXXXX";
	int fd = socket(AF_UNIX, type | SOCK_NONBLOCK, 0);

	CHECK(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/s", dir);
	(void)snprintf(a.sun_path, sizeof(a.sun_path), "%s/s", dir);
	CHECK(bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(fd, 1) == 0);
	return fd;
}

/* A pair: pair[0] is ours, by port_peer_connect. */
static void connect_pair(int pair[2], bool messages)
{
	int listener = listen_at(messages ? SOCK_SEQPACKET : SOCK_STREAM);

	pair[0] = port_peer_connect(path, messages);
	CHECK(pair[0] >= 0);
	pair[1] = accept(listener, NULL, NULL);
	CHECK(pair[1] >= 0);
	CHECK_EQ(unlink(path), 0);
	*strrchr(path, '/') = 0;
	CHECK_EQ(rmdir(path), 0);
	(void)close(listener);
}

CASE(where_nobody_listens)
{
	char too_long[200];

	memset(too_long, 'x', sizeof(too_long) - 1);
	too_long[sizeof(too_long) - 1] = 0;
	CHECK_EQ(port_peer_connect("/var/tmp/vubox-none", false), -ENOENT);
	CHECK_EQ(port_peer_connect(too_long, true), -ENAMETOOLONG);
}

CASE(another_type_of_socket)
{
	int listener = listen_at(SOCK_STREAM);

	CHECK_EQ(port_peer_connect(path, true), -EPROTOTYPE);
	CHECK_EQ(unlink(path), 0);
	*strrchr(path, '/') = 0;
	CHECK_EQ(rmdir(path), 0);
	(void)close(listener);
}

CASE(a_line_and_what_is_behind_it)
{
	char line[8], rest[4];
	int pair[2];

	connect_pair(pair, false);
	CHECK_EQ(port_peer_line(pair[0], line, sizeof(line)), -EAGAIN);
	CHECK_EQ(write(pair[1], "abc", 3), 3);
	CHECK_EQ(port_peer_line(pair[0], line, sizeof(line)), -EAGAIN);
	CHECK_EQ(write(pair[1], "\nde", 3), 3);
	CHECK_EQ(port_peer_line(pair[0], line, sizeof(line)), 3);
	CHECK_TEXT(line, "abc");
	CHECK_EQ(read(pair[0], rest, sizeof(rest)), 2);
	CHECK_EQ(write(pair[1], "12345678", 8), 8);
	CHECK_EQ(port_peer_line(pair[0], line, sizeof(line)), -EPROTO);
	CHECK_EQ(read(pair[0], line, 8), 8);
	CHECK_EQ(close(pair[1]), 0);
	CHECK_EQ(port_peer_line(pair[0], line, sizeof(line)), -EPROTO);
}

/* Over spans, behind the first bytes of them, and no more than that. */
CASE(bytes_over_spans)
{
	struct span spans[] = { at(0, 10), at(100, 5), at(200, 10) };
	struct sink to = { spans, 3 };
	struct source from = { spans, 3 };
	char back[32];
	int pair[2];

	connect_pair(pair, false);
	CHECK_EQ(port_peer_read(pair[0], to, 12, 10), -EAGAIN);
	CHECK_EQ(write(pair[1], "abcdefghij", 10), 10);
	CHECK_EQ(port_peer_read(pair[0], to, 12, 8), 8);
	CHECK_BYTES(memory + 102, "abc\0", 4);
	CHECK_BYTES(memory + 200, "defgh\0", 6);
	CHECK_EQ(port_peer_read(pair[0], to, 0, 1), 1);
	CHECK_BYTES(memory, "i\0", 2);
	CHECK_EQ(port_peer_write(pair[0], from, 102 - 100 + 10, 6), 6);
	CHECK_EQ(read(pair[1], back, sizeof(back)), 6);
	CHECK_BYTES(back, "abcdef", 6);
	CHECK_EQ(close(pair[1]), 0);
	CHECK_EQ(port_peer_read(pair[0], to, 0, 1), 1);
	CHECK_EQ(port_peer_read(pair[0], to, 0, 1), 0);
	CHECK_EQ(port_peer_write(pair[0], from, 0, 1), -EPIPE);
}

CASE(more_spans_than_one_call_takes)
{
	struct span spans[PORT_PEER_SPANS + 10];
	int pair[2];

	for (unsigned i = 0; i < PORT_PEER_SPANS + 10; i++)
		spans[i] = at(i * 2, 1);
	connect_pair(pair, false);
	CHECK_EQ(port_peer_write(pair[0], (struct source){ spans, PORT_PEER_SPANS + 10 }, 4, 1000),
		PORT_PEER_SPANS);
}

CASE(a_socket_that_is_full)
{
	struct span span = at(0, sizeof(memory));
	struct port_bytes bytes[2] = { { memory, 100 }, { memory + 1000, 50 } };
	int pair[2], n = 1;

	connect_pair(pair, false);
	CHECK_EQ(port_peer_send(pair[0], bytes, 2), 150);
	for (unsigned i = 0; n > 0 && i < 1000; i++)
		n = port_peer_write(pair[0], (struct source){ &span, 1 }, 0, sizeof(memory));
	CHECK_EQ(n, -EAGAIN);
}

CASE(messages_in_parts)
{
	struct span span = at(0, 100);
	struct sink to = { &span, 1 };
	struct port_bytes bytes[2] = { { "ab", 2 }, { "cd", 2 } };
	char back[8];
	bool whole;
	int pair[2];

	connect_pair(pair, true);
	CHECK_EQ(port_peer_read_message(pair[0], to, 0, 10, &whole), -EAGAIN);
	CHECK_EQ(write(pair[1], "0123456789abcdefghij", 20), 20);
	CHECK_EQ(write(pair[1], "next", 4), 4);
	CHECK_EQ(port_peer_read_message(pair[0], to, 44, 8, &whole), 8);
	CHECK(!whole);
	CHECK_BYTES(memory + 44, "01234567\0", 9);
	CHECK_EQ(port_peer_read_message(pair[0], to, 44, 8, &whole), 8);
	CHECK(!whole);
	CHECK_EQ(port_peer_read_message(pair[0], to, 44, 4, &whole), 4);
	CHECK(whole);
	CHECK_BYTES(memory + 44, "ghij", 4);
	CHECK_EQ(port_peer_read_message(pair[0], to, 0, 100, &whole), 4);
	CHECK(whole);
	CHECK_BYTES(memory, "next", 4);
	/* An empty one is passed by; the end is the end. */
	CHECK_EQ(send(pair[1], "", 0, 0), 0);
	CHECK_EQ(send(pair[1], "", 0, 0), 0);
	CHECK_EQ(write(pair[1], "y", 1), 1);
	CHECK_EQ(port_peer_read_message(pair[0], to, 0, 100, &whole), 1);
	CHECK_EQ(port_peer_read_message(pair[0], to, 0, 100, &whole), -EAGAIN);
	CHECK_EQ(write(pair[1], "x", 1), 1);
	CHECK_EQ(port_peer_read_message(pair[0], to, 0, 100, &whole), 1);
	CHECK_EQ(port_peer_send(pair[0], bytes, 2), 4);
	CHECK_EQ(read(pair[1], back, sizeof(back)), 4);
	CHECK_EQ(close(pair[1]), 0);
	CHECK_EQ(port_peer_read_message(pair[0], to, 0, 100, &whole), 0);
}

CASE(ends)
{
	char byte;
	int pair[2];

	connect_pair(pair, false);
	CHECK_EQ(port_peer_ended(pair[0]), 0);
	CHECK_EQ(shutdown(pair[1], SHUT_WR), 0);
	CHECK_EQ(port_peer_ended(pair[0]), 1);
	port_peer_shut(pair[0], PORT_PEER_WRITES);
	CHECK_EQ(read(pair[1], &byte, 1), 0);
	CHECK_EQ(port_peer_ended(pair[0]), 2);
	connect_pair(pair, false);
	port_peer_shut(pair[0], PORT_PEER_READS);
	CHECK_EQ(send(pair[1], "x", 1, MSG_NOSIGNAL), -1);
	CHECK_EQ(close(pair[1]), 0);
	CHECK_EQ(port_peer_ended(pair[0]), 2);
}
