/*
 * Sessions: a device's socket, its one front-end at a time, and what that front-end has set.
 *
 *     CLOSED --accept or connect--> OPEN --hang-up or error--> CLOSING --drained--> CLOSED
 *
 * A message that must wait until the I/O in flight has drained (see the table in msg.c) stays where
 * it is, and the session is paused: no queue of it takes new requests, no message is read.
 */
#ifndef VUBOX_VHOST_H
#define VUBOX_VHOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "log.h"
#include "loop.h"
#include "mem.h"
#include "spec/vhost_user.h"

struct device;

/* A message, and its descriptors: a handler that keeps one takes it by message_take_fd. */
enum { MESSAGE_FDS_MAX = VHOST_USER_MEM_TABLE_MAX };

struct message {
	uint32_t pad; /* so that header and payload are one run of bytes, as on the wire */
	struct vhost_user_header header;
	union {
		uint64_t u64;
		struct vhost_user_vring_state state;
		struct vhost_user_vring_addr addr;
		struct vhost_user_mem_table table;
		struct vhost_user_mem_reg reg;
		struct vhost_user_config config;
		struct vhost_user_inflight inflight;
		uint8_t bytes[CONFIG_PAYLOAD_MAX];
	} payload;
	int fds[MESSAGE_FDS_MAX];
	unsigned fd_count;
	int reply_fd; /* to be sent with the reply and then closed; -1: none */
};

_Static_assert(offsetof(struct message, payload) ==
		       offsetof(struct message, header) + sizeof(struct vhost_user_header),
	"as on the wire");

enum session_state { SESSION_CLOSED, SESSION_OPEN, SESSION_CLOSING };

/* How a device is reached. */
enum endpoint_kind {
	ENDPOINT_NONE,
	ENDPOINT_LISTEN,
	ENDPOINT_LISTEN_FD,
	ENDPOINT_CONNECTED_FD,
	ENDPOINT_CLIENT
};

struct endpoint {
	uint8_t kind;     /* enum endpoint_kind */
	const char *path; /* of LISTEN and CLIENT */
	int fd;           /* of the listener */
	int watch;        /* of it; valid while `watched` */
	bool watched;
	struct port_socket_id id;
	struct loop_timer retry; /* of CLIENT */
	uint32_t failures;
};

/* Zero is a session without a front-end. */
struct session {
	struct device *device;
	struct endpoint endpoint;
	uint8_t state; /* enum session_state */
	bool pausing;  /* a complete message waits for the drain */
	bool replying; /* a reply waits until the front-end reads; no message is taken meanwhile */
	bool ending;   /* the process ends */
	bool looking;  /* SIGHUP: the device looks again when nothing is in flight */
	bool reading;  /* watch is valid */
	bool config_stale; /* the front-end is to be told of a change when it starts a ring */
	bool has_backend, has_inflight;
	bool made_inflight; /* the buffer was made on this connection: there is no earlier life */
	int fd, watch;
	int backend_fd; /* for our own requests, with has_backend */

	uint32_t received; /* bytes of `message` that are here */
	struct message message;

	uint32_t reply_size;     /* of the payload, with replying */
	struct loop_timer again; /* to send the reply, or to cancel I/O */

	uint64_t features; /* that the driver accepted */
	uint64_t protocol_features;
	uint64_t status;
	struct mem mem;
	struct port_map inflight_map;
	struct guest *inflight; /* the buffer, with has_inflight */
	uint64_t inflight_bytes;
	uint16_t inflight_queues, inflight_queue_size;
	struct log_limit limit;
};

/* ---- session.c: the life of a connection ---- */

/* Starts to serve as the endpoint says: 0, or -errno. */
int session_serve(struct session *s);
/* The end of the process: takes nothing new. */
void session_end(struct session *s);
/* Watches the connection for messages (false: it cannot be watched), or not for now. */
bool session_listen(struct session *s);
void session_deafen(struct session *s);
/* Removes the socket file. */
void session_unlink(struct session *s);
/* The front-end's fault, or its hang-up (why NULL): closes this connection. */
void session_close(struct session *s, const char *why);
/* At the end of a tick: goes on with what waited for the drain. */
void session_progress(struct session *s);
/* Whether it waits for that, whatever else happens. */
bool session_waits(const struct session *s);
/* Closes the connection if its memory was found missing. */
void session_check_memory(struct session *s);
/* Whether the queues of the device may not take requests. */
bool session_paused(const struct session *s);
/* Whether a queue that is to stop may still do what it owes (queue_finish). */
bool session_finishes(const struct session *s);
/*
 * The in-flight region of a queue in the format of the features; NULL if there is no tracking.
 * -EINVAL if the buffer has no room for it.
 */
int session_inflight_region(const struct session *s, uint16_t queue, struct guest **region);
/* A queue broke: DEVICE_NEEDS_RESET, where the front-end knows of it. */
void session_needs_reset(struct session *s);
/* Tells the front-end that the configuration space has changed. */
void session_config_changed(struct session *s);
/* Whether a protocol feature is negotiated. */
bool session_has(const struct session *s, unsigned protocol_feature);

/* ---- msg.c: framing, and the table of messages ---- */

/* Reads what is there and handles what is complete. */
void message_read(struct session *s);
/* Whether the complete message that paused the session must wait still. */
bool message_waits(struct session *s);
/* Handles it. */
void message_resume(struct session *s);
/* Drops a message that is half here, with its descriptors. */
void message_drop(struct session *s);
/* Takes over descriptor i of a message. */
int message_take_fd(struct message *m, unsigned i);
/* Forgets a reply that waits. */
void message_drop_reply(struct session *s);
/* Sends a request on the back-end channel; what it cannot take is lost, with a line. */
void message_to_frontend(struct session *s, uint32_t request);

/* ---- vhost.c: what each message does ---- */

/*
 * A handler gets a message that its row has checked. 0: done; a reply, if the row has one, is in
 * the message. Else -errno and *why.
 */
typedef int vhost_fn(struct session *s, struct message *m, const char **why);

vhost_fn vhost_get_features, vhost_set_features, vhost_set_owner, vhost_reset_owner;
vhost_fn vhost_set_mem_table, vhost_add_mem_reg, vhost_rem_mem_reg, vhost_get_max_mem_slots;
vhost_fn vhost_set_vring_num, vhost_set_vring_addr, vhost_set_vring_base, vhost_get_vring_base;
vhost_fn vhost_set_vring_kick, vhost_set_vring_call, vhost_set_vring_err, vhost_set_vring_enable;
vhost_fn vhost_get_protocol_features, vhost_set_protocol_features, vhost_get_queue_num;
vhost_fn vhost_set_backend_req_fd, vhost_get_config, vhost_set_config;
vhost_fn vhost_get_inflight_fd, vhost_set_inflight_fd;
vhost_fn vhost_net_set_mtu, vhost_send_rarp;
vhost_fn vhost_reset_device, vhost_set_status, vhost_get_status;

#endif
