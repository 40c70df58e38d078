/* Inside the fake port: descriptors and what they stand for. */
#ifndef VUBOX_FAKE_OBJECT_H
#define VUBOX_FAKE_OBJECT_H

#include "fake_port.h"

enum fake_kind { NONE, NOTIFY, SOCKET, LISTENER, MEMORY, OTHER, SIGNALS, IO_EVENT, TAP };
enum { BACKLOG_MAX = 16, SEGMENT_FDS_MAX = 32 };

/* Bytes on their way in a socket, and the descriptors that go with the first of them. */
struct segment {
	struct segment *next;
	size_t at, len;
	unsigned count;
	struct object *objects[SEGMENT_FDS_MAX];
	char bytes[];
};

/* An open file description: what descriptors stand for. */
struct object {
	struct object *next_all;
	enum fake_kind kind;
	unsigned refs;    /* descriptors, segments and mappings */
	uint64_t signals; /* grows whenever something new is there: the edge */
	/* NOTIFY */
	enum port_notify_kind notify;
	uint64_t count;
	/* SOCKET: its peer (NULL: closed), and what comes from it */
	struct object *peer;
	struct segment *first, **last;
	size_t queued;
	bool shut; /* it sends no more */
	/* LISTENER */
	char path[64];
	struct object *backlog[BACKLOG_MAX];
	unsigned backlog_len;
	/* MEMORY */
	char *bytes;
	uint64_t len;
};

struct descriptor {
	struct object *object;
	bool inside, watched;
	enum port_trigger trigger;
	uint64_t token, seen;
};

/* Memory, all zeroes, and more of it: there is always enough, or the test dies. */
void *fake_new(size_t len);
void *fake_more(void *p, size_t len);

struct object *fake_object_new(enum fake_kind kind);
void fake_object_put(struct object *o);
int fake_fd_new(struct object *o, bool inside);
/* Of an open descriptor; of one that is open and of this kind: all else dies. */
struct descriptor *fake_fd(int fd);
struct object *fake_object(int fd, enum fake_kind kind);
/* An inside descriptor of an open file. */
int fake_fd_of_file(void);
bool fake_fd_open(int fd);
bool fake_fd_inside(int fd);

/* Puts bytes into the queue of a socket object. */
void fake_segment_put(
	struct object *o, const void *buf, size_t len, const int *fds, unsigned count);
void fake_segments_free(struct object *o);
/* Forgets every mapping inside. */
void fake_maps_kill(void);

/* Counts a call; the error if it is to fail, else 0. */
int fake_call(enum fake_call call);
/* Does the I/O that is due; when the next one is (or UINT64_MAX); whether port_io_reap has any. */
void fake_io_run(void);
uint64_t fake_io_next_ns(void);
bool fake_io_done(void);
/* port_io_reap has got more. */
void fake_io_edge(void);
void fake_io_kill(void);
bool fake_io_runs(const struct port_file *file);

struct fake_image *fake_image_of(const struct port_file *file);
void fake_make_stable(struct fake_image *image, uint64_t from, uint64_t to);
void fake_cage_kill(void);
void fake_terminal_kill(void);
void fake_files_kill(void);
void fake_files_reset(void);
void fake_net_kill(void);
void fake_net_reset(void);

/* port_stream_write, to a log, a terminal or a socket. */
int fake_terminal_write(int fd, const void *buf, size_t len);

#endif
