/*
 * Every call of the port by the real code passes here (rules.mk gives it these names), so that the
 * process can die before any of them. Not counted are those that change nothing outside of it, as
 * port_io_submit without I/O.
 */
#include "sim.h"

static bool started;

#define CALL(type, name, params, args)     \
	type sim_##name params;            \
	type sim_##name params             \
	{                                  \
		cut_event(#name, NULL, 0); \
		return name args;          \
	}
/* … of I/O, which the kernel has with the next call of port_io_submit. */
#define START(name, params, args)          \
	void sim_##name params;            \
	void sim_##name params             \
	{                                  \
		cut_event(#name, NULL, 0); \
		started = true;            \
		name args;                 \
	}
#define QUERY(type, name, params, args) \
	type sim_##name params;         \
	type sim_##name params          \
	{                               \
		return name args;       \
	}

CALL(int, port_read_file, (const char *path, char *buf, size_t size), (path, buf, size))
CALL(int, port_signals_open, (void), ())
CALL(enum port_signal, port_signals_next, (int fd), (fd))
CALL(void, port_close, (int fd), (fd))

CALL(int, port_wait_open, (void), ())
CALL(int, port_wait_add, (int fd, uint64_t token, enum port_trigger trigger), (fd, token, trigger))
CALL(void, port_wait_remove, (int fd), (fd))
CALL(unsigned, port_wait, (uint64_t * tokens, unsigned max, int64_t timeout_ns),
	(tokens, max, timeout_ns))

CALL(int, port_notify_take, (struct port_notify * notify, int fd), (notify, fd))
CALL(void, port_notify_close, (struct port_notify * notify), (notify))
CALL(void, port_notify_send, (const struct port_notify *notify), (notify))
CALL(void, port_notify_drain, (const struct port_notify *notify), (notify))

CALL(int, port_listen, (const char *path, struct port_socket_id *id), (path, id))
CALL(void, port_unlisten, (const char *path, const struct port_socket_id *id), (path, id))
CALL(int, port_connect, (const char *path), (path))
QUERY(bool, port_is_own_connection, (int fd), (fd))
CALL(int, port_accept, (int listener), (listener))
CALL(int, port_socket_kind, (int fd), (fd))
CALL(int, port_recv, (int fd, void *buf, size_t len, int *fds, unsigned *fd_count),
	(fd, buf, len, fds, fd_count))
CALL(int, port_send, (int fd, const void *buf, size_t len, int send_fd), (fd, buf, len, send_fd))

CALL(int, port_peer_connect, (const char *path, bool messages), (path, messages))
CALL(int, port_peer_line, (int fd, char *line, size_t size), (fd, line, size))
CALL(int, port_peer_read, (int fd, struct sink to, uint32_t skip, uint32_t len),
	(fd, to, skip, len))
CALL(int, port_peer_read_message,
	(int fd, struct sink to, uint32_t skip, uint32_t len, bool *whole),
	(fd, to, skip, len, whole))
CALL(int, port_peer_write, (int fd, struct source from, uint32_t skip, uint32_t len),
	(fd, from, skip, len))
CALL(int, port_peer_send, (int fd, const struct port_bytes *bytes, unsigned count),
	(fd, bytes, count))
CALL(void, port_peer_shut, (int fd, enum port_peer_side side), (fd, side))
QUERY(int, port_peer_ended, (int fd), (fd))

CALL(int, port_map,
	(struct port_map * map, int fd, uint64_t offset, uint64_t len, bool writable, char **at),
	(map, fd, offset, len, writable, at))
CALL(void, port_unmap, (struct port_map * map), (map))
CALL(int, port_shared_file, (const char *name, uint64_t len), (name, len))
QUERY(bool, port_map_hits, (void), ())

CALL(int, port_file_open,
	(struct port_file * file, const struct port_file_options *options, const char **what),
	(file, options, what))
CALL(void, port_file_close, (struct port_file * file), (file))
CALL(int, port_file_resize, (struct port_file * file), (file))

START(port_io_read,
	(struct port_io * io, struct port_file *file, struct sink to, uint64_t offset,
		uint32_t len),
	(io, file, to, offset, len))
START(port_io_write,
	(struct port_io * io, struct port_file *file, struct source from, uint64_t offset,
		uint32_t len, bool sync),
	(io, file, from, offset, len, sync))
START(port_io_flush, (struct port_io * io, struct port_file *file), (io, file))
START(port_io_discard,
	(struct port_io * io, struct port_file *file, uint64_t offset, uint64_t len, bool sync),
	(io, file, offset, len, sync))
START(port_io_zero,
	(struct port_io * io, struct port_file *file, uint64_t offset, uint64_t len, bool keep,
		bool sync),
	(io, file, offset, len, keep, sync))
CALL(void, port_io_cancel, (struct port_io * io), (io))

void sim_port_io_submit(void);
void sim_port_io_submit(void)
{
	if (started)
		cut_event("port_io_submit", NULL, 0);
	started = false;
	port_io_submit();
}

CALL(struct port_io *, port_io_reap, (void), ())
QUERY(bool, port_io_ready, (void), ())
QUERY(unsigned, port_io_pending, (void), ())
QUERY(int, port_io_event, (void), ())

CALL(int, port_random, (void *buf, size_t len), (buf, len))
CALL(int, port_stream_open, (const char *path, bool *endless), (path, endless))
CALL(int, port_stream_read, (int fd, void *buf, size_t len), (fd, buf, len))

CALL(int, port_pty_open, (char *name, size_t size, int *slave), (name, size, slave))
CALL(int, port_stdio_open, (int fd), (fd))
CALL(int, port_terminal_raw, (int fd), (fd))
CALL(void, port_terminal_restore, (void), ())
CALL(int, port_terminal_size, (int fd, uint16_t *cols, uint16_t *rows), (fd, cols, rows))
CALL(int, port_link, (const char *path, const char *target, struct port_socket_id *id),
	(path, target, id))
CALL(int, port_log_open, (const char *path, uint64_t *size), (path, size))
CALL(int, port_log_rotate, (const char *path, unsigned count), (path, count))
CALL(int, port_stream_create, (const char *path), (path))
CALL(int, port_stream_write, (int fd, const void *buf, size_t len), (fd, buf, len))
QUERY(uint64_t, port_real_ns, (void), ())
QUERY(void *, port_reserve, (size_t len), (len))

CALL(int, port_send_some, (int fd, const void *buf, size_t len), (fd, buf, len))
CALL(int, port_datagrams_open, (const char *path, struct port_socket_id *id), (path, id))
CALL(int, port_datagrams_connect, (int fd, const char *path), (fd, path))

CALL(int, port_tap_open, (struct port_tap * tap, const char *name, unsigned queues),
	(tap, name, queues))
CALL(int, port_tap_take, (struct port_tap * tap, int fd), (tap, fd))
CALL(void, port_tap_close, (struct port_tap * tap), (tap))
CALL(int, port_tap_offload, (struct port_tap * tap, uint32_t offloads), (tap, offloads))
CALL(int, port_tap_attach, (struct port_tap * tap, unsigned queue, bool attach),
	(tap, queue, attach))
QUERY(int, port_tap_is_up, (const struct port_tap *tap), (tap))
CALL(int, port_tap_send,
	(struct port_tap * tap, unsigned queue, const void *header, struct source frame),
	(tap, queue, header, frame))
CALL(int, port_tap_recv, (struct port_tap * tap, unsigned queue, void *header, struct sink to),
	(tap, queue, header, to))
