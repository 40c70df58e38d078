/*
 * Proofs about messages: src/core/msg.c with src/core/session.c. Framing, the table, replies, the
 * end of a connection; the handlers are stubs here, and for the proofs of vhost.c.
 *
 * `sound` (any_session.h) is what each function keeps, from any session that is so: each piece is
 * received into what is left of the header or of its payload, no descriptor is closed twice or
 * forgotten, a timer finds what it is for.
 *
 * Bounds. Messages have none but the table's and CONFIG_PAYLOAD_MAX, which is the smallest there
 * may be (it is compared with, and bounds no loop).
 *   PIECES: 2 come in one call of message_read, then the socket is empty. Each round of its loop
 *     begins with a session that is sound, as the first one does; two pieces have a message that
 *     goes on, or begins, in the round behind another. It ends because every round takes a byte or
 *     more, and MESSAGES_PER_TICK messages end it.
 *   QUEUES: 2, of which a message names one, none, or (drained, settled) all.
 */
/* One handler is in place of all: a row is told by its message. */
#define vhost_get_features          any_handler
#define vhost_set_features          any_handler
#define vhost_set_owner             any_handler
#define vhost_reset_owner           any_handler
#define vhost_set_mem_table         any_handler
#define vhost_add_mem_reg           any_handler
#define vhost_rem_mem_reg           any_handler
#define vhost_get_max_mem_slots     any_handler
#define vhost_set_vring_num         any_handler
#define vhost_set_vring_addr        any_handler
#define vhost_set_vring_base        any_handler
#define vhost_get_vring_base        any_handler
#define vhost_set_vring_kick        any_handler
#define vhost_set_vring_call        any_handler
#define vhost_set_vring_err         any_handler
#define vhost_set_vring_enable      any_handler
#define vhost_get_protocol_features any_handler
#define vhost_set_protocol_features any_handler
#define vhost_get_queue_num         any_handler
#define vhost_set_backend_req_fd    any_handler
#define vhost_get_config            any_handler
#define vhost_set_config            any_handler
#define vhost_get_inflight_fd       any_handler
#define vhost_set_inflight_fd       any_handler
#define vhost_net_set_mtu           any_handler
#define vhost_send_rarp             any_handler
#define vhost_reset_device          any_handler
#define vhost_set_status            any_handler
#define vhost_get_status            any_handler

#include "../../src/core/msg.c"

#include "any_session.h"

/* What a handler may do: keep descriptors, and make a reply in the message. */
int any_handler(struct session *s, struct message *m, const char **why)
{
	const struct row *row = find_row(m);

	claim(s == &device.session && m->fd_count <= row->fds_max);
	claim(m->header.size >= row->size_min && m->header.size <= row->size_max);
	claim(s->received == HEADER + m->header.size);
	for (unsigned i = 0; i < MESSAGE_FDS_MAX; i++)
		if (i < m->fd_count && nondet_bool()) {
			(void)message_take_fd(m, i);
			held--;
		}
	if ((row->flags & REPLY_MASK) != 0) {
		m->payload.u64 = nondet_u64();
		m->header.size = (uint32_t)nondet_upto(sizeof(struct vhost_user_config));
		m->reply_fd = nondet_bool() ? 8 : -1;
	}
	*why = "any reason";
	return nondet_bool() ? 0 : -EINVAL;
}

/* Of session_inflight_region, which is for the proofs of vhost.c. */
uint64_t inflight_region_bytes(bool packed, uint16_t size)
{
	(void)packed;
	return size;
}

void prove_read(void)
{
	struct session *s = any_session();

	message_read(s);
	claim(sound(s));
}

void prove_resume(void)
{
	struct session *s = any_session();

	assume(s->pausing);
	session_progress(s);
	claim(sound(s));
}

void prove_again(void)
{
	struct session *s = any_session();

	assume(s->again.set);
	s->again.set = false;
	if (s->again.fn == send_reply)
		send_reply(s);
	else
		cancel_again(s);
	claim(sound(s));
}

void prove_close(void)
{
	struct session *s = any_session();

	if (nondet_bool())
		session_close(s, "any reason");
	else
		session_check_memory(s);
	if (nondet_bool())
		session_config_changed(s);
	else
		session_needs_reset(s);
	claim(sound(s));
}

PROOFS(prove_read, prove_resume, prove_again, prove_close)
