/*
 * What the tests of the socket device run: in the guest it talks AF_VSOCK, outside unix sockets.
 *
 *     vsock pour PORT BYTES     guest: connects to the host, sends so many bytes, half-closes, and
 *                               reads as many back
 *     vsock serve PORT COUNT    guest: accepts so many connections, and sends back what each sends
 *     vsock messages PORT       guest: the same with messages of all sizes
 *     vsock many PORT COUNT     guest: so many connections at a time, a few bytes over each
 *     vsock echo PATH COUNT     host: listens, sends back what each of so many connections sends
 *     vsock echoes PATH COUNT   host: the same with messages
 *     vsock dial PATH PORT BYTES COUNT   host: so many connections, one after the other
 *
 * The bytes are those of a generator with the port as its seed, so that each end knows them.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

enum { CHUNK = 65536, MANY = 1000 };

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void fill(unsigned char *bytes, size_t len, uint64_t *seed)
{
	for (size_t i = 0; i < len; i++) {
		*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
		bytes[i] = (unsigned char)(*seed >> 56);
	}
}

static void send_text(int fd, const char *text)
{
	if (write(fd, text, strlen(text)) < 0)
		die("write");
}

static int guest_connect(unsigned port, int type)
{
	struct sockaddr_vm a = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port
	};
	int fd = socket(AF_VSOCK, type, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		die("connect");
	return fd;
}

static int guest_listen(unsigned port)
{
	struct sockaddr_vm a = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port
	};
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 128) < 0)
		die("listen");
	send_text(1, "listening\n");
	return fd;
}

static int host_socket(const char *path, int type, int listens)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type, 0);

	strncpy(a.sun_path, path, sizeof(a.sun_path) - 1);
	if (fd < 0 ||
		(listens ? bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 128) < 0
			 : connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0))
		die(path);
	return fd;
}

static void send_all(int fd, const void *bytes, size_t len)
{
	for (size_t at = 0; at < len;) {
		ssize_t n = send(fd, (const char *)bytes + at, len - at, MSG_NOSIGNAL);

		if (n <= 0)
			die("send");
		at += (size_t)n;
	}
}

/* Sends back whatever comes until its end; the end goes back, too. */
static void echo(int fd, int messages)
{
	static unsigned char bytes[CHUNK];
	ssize_t n;

	while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0) {
		if (messages && send(fd, bytes, (size_t)n, MSG_NOSIGNAL) != n)
			die("send");
		else if (!messages)
			send_all(fd, bytes, (size_t)n);
	}
	if (n < 0)
		die("recv");
	close(fd);
}

/* All the bytes there and back: by a process for each direction. */
static void there_and_back(int fd, uint64_t seed, size_t len)
{
	static unsigned char bytes[CHUNK], should[CHUNK];
	uint64_t back = seed;
	size_t have = 0;

	if (fork() == 0) {
		for (size_t at = 0; at < len; at += CHUNK) {
			size_t part = len - at < CHUNK ? len - at : CHUNK;

			fill(bytes, part, &seed);
			send_all(fd, bytes, part);
		}
		shutdown(fd, SHUT_WR);
		_exit(0);
	}
	for (;;) {
		ssize_t n = recv(fd, bytes, sizeof(bytes), 0);

		if (n < 0)
			die("recv");
		if (n == 0)
			break;
		fill(should, (size_t)n, &back);
		if (memcmp(bytes, should, (size_t)n) != 0) {
			fprintf(stderr, "other bytes behind %zu\n", have);
			exit(1);
		}
		have += (size_t)n;
	}
	if (have != len) {
		fprintf(stderr, "%zu bytes instead of %zu\n", have, len);
		exit(1);
	}
	close(fd);
}

static void send_messages(int fd)
{
	static unsigned char bytes[CHUNK], back[CHUNK];
	uint64_t seed = 1;

	for (size_t len = 1; len <= 60000; len = len * 3 / 2 + 1) {
		fill(bytes, len, &seed);
		if (send(fd, bytes, len, 0) != (ssize_t)len)
			die("send");
		if (recv(fd, back, sizeof(back), 0) != (ssize_t)len ||
			memcmp(bytes, back, len) != 0) {
			fprintf(stderr, "another message than that of %zu bytes\n", len);
			exit(1);
		}
	}
	close(fd);
}

static void many(unsigned port, unsigned count)
{
	static int fds[MANY];
	unsigned back;

	for (unsigned i = 0; i < count; i++) {
		fds[i] = guest_connect(port, SOCK_STREAM);
		send_all(fds[i], &i, sizeof(i));
	}
	for (unsigned i = 0; i < count; i++) {
		if (recv(fds[i], &back, sizeof(back), MSG_WAITALL) != sizeof(back) || back != i) {
			fprintf(stderr, "connection %u has other bytes\n", i);
			exit(1);
		}
		close(fds[i]);
	}
}

static void dial(const char *path, unsigned port, size_t len)
{
	char line[64];
	int fd = host_socket(path, SOCK_STREAM, 0);
	size_t n = (size_t)snprintf(line, sizeof(line), "CONNECT %u\n", port);

	send_all(fd, line, n);
	for (n = 0; n < sizeof(line) && (n == 0 || line[n - 1] != '\n'); n++)
		if (recv(fd, line + n, 1, 0) != 1)
			die("no OK");
	there_and_back(fd, port, len);
}

/* Each connection in a process of its own. */
static void accept_all(int listener, unsigned count, int messages)
{
	while (count-- > 0) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			die("accept");
		if (fork() == 0) {
			close(listener);
			echo(fd, messages);
			_exit(0);
		}
		close(fd);
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	unsigned port = argc > 2 ? (unsigned)atoi(argv[2]) : 0;
	unsigned count = argc > 3 ? (unsigned)atoi(argv[3]) : 0;

	if (strcmp(what, "pour") == 0)
		there_and_back(guest_connect(port, SOCK_STREAM), port, (size_t)count);
	else if (strcmp(what, "serve") == 0)
		accept_all(guest_listen(port), count, 0);
	else if (strcmp(what, "messages") == 0)
		send_messages(guest_connect(port, SOCK_SEQPACKET));
	else if (strcmp(what, "many") == 0)
		many(port, count);
	else if (strcmp(what, "echo") == 0)
		accept_all(host_socket(argv[2], SOCK_STREAM, 1), count, 0);
	else if (strcmp(what, "echoes") == 0)
		accept_all(host_socket(argv[2], SOCK_SEQPACKET, 1), count, 1);
	else if (strcmp(what, "dial") == 0 && argc > 5)
		for (int i = 0; i < atoi(argv[5]); i++)
			dial(argv[2], count, (size_t)atoi(argv[4]));
	else
		return 2;
	return 0;
}
