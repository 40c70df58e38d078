/*
 * Ports of a console: a stream of bytes each, between a pair of queues and what is on the host's
 * side (console_port.c). What the ports have in common, and the driver's view of them: console.c.
 */
#ifndef VUBOX_CONSOLE_H
#define VUBOX_CONSOLE_H

#include <stdbool.h>
#include <stdint.h>

#include "device.h"
#include "loop.h"

/* The words of --backend, in this order. */
enum console_kind { CONSOLE_PTY, CONSOLE_STDIO, CONSOLE_UNIX, CONSOLE_FILE };

/* What all ports of a device have in common. */
struct console_rules {
	bool backpressure;
	uint64_t rotate_bytes; /* 0: never */
	uint32_t rotate_count;
};

struct console_port {
	struct device *dev;
	const struct console_rules *rules;
	char label[40];   /* in log lines */
	const char *name; /* that the guest sees; NULL: it is the console */
	uint32_t name_len;
	uint32_t number;  /* among those of its device */
	uint16_t rx, tx;  /* its queues */
	uint8_t kind;     /* enum console_kind */
	const char *path; /* of a socket, a file, or a link to the pseudo-terminal; or NULL */
	bool linked;      /* it is there, and is `id` */
	struct port_socket_id id;
	char pty[32];

	/* The host's side; of a descriptor that is not there: -1. */
	int in, out; /* often the same */
	int slave, listener;
	int in_watch, out_watch, listener_watch; /* -1: none */
	bool readable, writable; /* as far as is known: edges say when it is again */
	bool ended;              /* there is no more input */
	uint64_t log_bytes;      /* of the file */
	struct loop_timer again;
	struct log_limit limit;

	/* The guest's side. */
	bool added, closed;   /* announced; and the driver has not opened it */
	uint8_t pending;      /* control messages that it is to get: CONSOLE_TELL_… */
	struct request *held; /* output that is too much for one turn */

	uint32_t input_at, input_len; /* read, and not the guest's yet */
	uint8_t input[CONFIG_CONSOLE_INPUT];
	uint32_t output_at, output_len; /* of the guest, and not written yet: a ring */
	uint8_t output[CONFIG_CONSOLE_OUTPUT];
};

/* Takes BACKEND[:ARG] apart; false after one line. */
bool console_port_parse(struct console_port *p, const char *option, const char *text);
/* As open and listen of struct device_class. */
int console_port_open(struct console_port *p);
int console_port_listen(struct console_port *p);
void console_port_close(struct console_port *p);
/* SIGHUP: a log is opened again. */
void console_port_reopen(struct console_port *p);

/* Whether someone is there on the host's side. */
bool console_port_is_open(const struct console_port *p);
/* Whether there is input for the guest. */
bool console_port_has_input(struct console_port *p);
void console_port_input(struct console_port *p, struct request *req);
/* Whether output would be taken now. */
bool console_port_may_output(struct console_port *p);
void console_port_output(struct console_port *p, struct request *req);
/* The byte of an emergency write. */
void console_port_emergency(struct console_port *p, uint8_t byte);

/* ---- console_control.c ---- */

enum { CONSOLE_PORTS_MAX = CONFIG_CONSOLE_NAMED + 1 };

struct console {
	struct console_port *ports[CONSOLE_PORTS_MAX]; /* the first one is the console */
	uint32_t port_count;
	struct console_rules rules;
	bool sized; /* the console is a terminal */
	uint16_t cols, rows;
	struct log_limit limit;
};

/* MULTIPORT is there for --port only: without it, a guest asks the configuration for its size. */
static inline bool console_has_control(const struct console *con)
{
	return con->port_count > 1;
}

/* What a port's driver is to be told, in this order. */
enum {
	CONSOLE_TELL_ADD = 1,
	CONSOLE_TELL_CONSOLE = 2,
	CONSOLE_TELL_NAME = 4,
	CONSOLE_TELL_SIZE = 8,
	CONSOLE_TELL_OPEN = 16,
};
void console_tell(struct console_port *p, unsigned what);
/* Someone came or went on the host's side. */
void console_port_changed(struct console_port *p);

/* Requests of the control queues; one to the driver is for when there is something to tell. */
bool console_has_news(const struct console *con);
void console_control_send(struct device *dev, struct request *req);
void console_control_receive(struct device *dev, struct request *req);

#endif
