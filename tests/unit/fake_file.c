/* The fake port: images with a stable half, files of text, and streams. */
#include "fake_object.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SECTOR = 512, CREATED_MAX = 16 << 20 };

struct stream {
	struct stream *next;
	char path[64];
	bool endless;
	int fd;
	unsigned char *bytes;
	size_t at, len;
};

static struct {
	struct fake_image *images;
	struct stream *streams;
} state;

/* ---- files ---- */

struct fake_image *fake_image_find(const char *path)
{
	struct fake_image *i = state.images;

	while (i && strcmp(i->path, path) != 0)
		i = i->next;
	return i;
}

static void *resized(void *p, size_t old, size_t size)
{
	char *bytes = fake_more(p, size + 1);

	if (size > old)
		memset(bytes + old, 0, size - old);
	return bytes;
}

void fake_image_resize(struct fake_image *i, uint64_t size)
{
	size_t old = (size_t)i->size, now = (size_t)size;

	i->bytes = resized(i->bytes, old, now);
	i->stable = resized(i->stable, old, now);
	i->dirty = resized(i->dirty, i->dirty ? old / SECTOR + 1 : 0, now / SECTOR + 1);
	i->size = size;
}

struct fake_image *fake_image_new(const char *path, uint64_t size)
{
	struct fake_image *i = fake_new(sizeof(*i));

	strncpy(i->path, path, sizeof(i->path) - 1);
	i->logical_block = i->physical_block = SECTOR;
	fake_image_resize(i, size);
	i->next = state.images;
	return state.images = i;
}

void fake_file_new(const char *path, const char *text)
{
	memcpy(fake_image_new(path, strlen(text))->bytes, text, strlen(text));
}

/* The bytes of one sector that are in the file. */
static size_t sector_bytes(const struct fake_image *i, uint64_t sector)
{
	return i->size - sector * SECTOR < SECTOR ? (size_t)(i->size - sector * SECTOR) : SECTOR;
}

void fake_power_loss(struct fake_image *i)
{
	for (uint64_t s = 0; s * SECTOR < i->size; s++) {
		if (!i->dirty[s])
			continue;
		i->dirty[s] = false;
		if (fake_random(2) == 0)
			memcpy(i->stable + s * SECTOR, i->bytes + s * SECTOR, sector_bytes(i, s));
		else
			memcpy(i->bytes + s * SECTOR, i->stable + s * SECTOR, sector_bytes(i, s));
	}
}

void fake_make_stable(struct fake_image *i, uint64_t from, uint64_t to)
{
	for (uint64_t s = from / SECTOR; s * SECTOR < to; s++)
		if (i->dirty[s]) {
			memcpy(i->stable + s * SECTOR, i->bytes + s * SECTOR, sector_bytes(i, s));
			i->dirty[s] = false;
		}
}

int port_read_file(const char *path, char *buf, size_t size)
{
	const struct fake_image *i = fake_image_find(path);
	int error = fake_call(FAKE_READ_FILE);

	if (error < 0 || !i)
		return error < 0 ? error : -ENOENT;
	if (i->size > size)
		return -EFBIG;
	memcpy(buf, i->bytes, (size_t)i->size);
	return (int)i->size;
}

static int image_open(struct fake_image *i, struct port_file *f, const struct port_file_options *o,
	const char **what)
{
	*what = "neither a file nor a block device";
	if (i->directory)
		return -EISDIR;
	*what = "in use by another vubox (--no-lock serves it all the same)";
	if (!o->no_lock && i->opens > 0 && (i->locked || !o->read_only))
		return -EWOULDBLOCK;
	if (o->create_size > i->size && !i->block_device)
		fake_image_resize(i, o->create_size);
	i->opens++;
	i->locked = !o->read_only;
	*f = (struct port_file){ .open = true,
		.block_device = i->block_device,
		.read_only = o->read_only,
		.fd = fake_fd_of_file(),
		.fd_direct = -1,
		.size = i->size,
		.logical_block = i->logical_block,
		.physical_block = i->physical_block,
		.can_discard = true,
		.can_zero = true,
		.engine = PORT_ENGINE_SYNC,
		.engine_why = "a fake",
		.map_at = (char *)i };
	return 0;
}

int port_file_open(
	struct port_file *file, const struct port_file_options *options, const char **what)
{
	struct fake_image *i = fake_image_find(options->path);
	int error = fake_call(FAKE_FILE_OPEN);

	*file = (struct port_file){ .fd_direct = -1 };
	*what = "cannot open";
	if (options->create_size > CREATED_MAX)
		return -EFBIG;
	if (error == 0 && !i && options->create_size > 0)
		i = fake_image_new(options->path, options->create_size);
	if (error < 0 || !i)
		return error < 0 ? error : -ENOENT;
	return image_open(i, file, options, what);
}

struct fake_image *fake_image_of(const struct port_file *file)
{
	if (!file->open)
		fake_die("a file is not open");
	return (struct fake_image *)(void *)file->map_at;
}

void port_file_close(struct port_file *file)
{
	if (!file->open)
		return;
	fake_image_of(file)->opens--;
	port_close(file->fd);
	*file = (struct port_file){ 0 };
}

int port_file_resize(struct port_file *file)
{
	int error = fake_call(FAKE_FILE_RESIZE);

	if (error < 0)
		return error;
	if (fake_io_runs(file))
		fake_die("a file is resized under its I/O");
	file->size = fake_image_of(file)->size;
	return 0;
}

/* ---- bytes from elsewhere ---- */

void fake_stream_new(const char *path, bool endless)
{
	struct stream *s = fake_new(sizeof(*s));

	strncpy(s->path, path, sizeof(s->path) - 1);
	s->endless = endless;
	s->fd = -1;
	s->next = state.streams;
	state.streams = s;
}

void fake_stream_feed(const char *path, const void *bytes, size_t len)
{
	struct stream *s = state.streams;

	while (s && strcmp(s->path, path) != 0)
		s = s->next;
	if (!s)
		fake_die("no stream %s", path);
	s->bytes = fake_more(s->bytes, s->len + len + 1);
	memcpy(s->bytes + s->len, bytes, len);
	s->len += len;
}

int port_stream_open(const char *path, bool *endless)
{
	struct stream *s = state.streams;
	int error = fake_call(FAKE_STREAM_OPEN);

	while (s && strcmp(s->path, path) != 0)
		s = s->next;
	if (error < 0 || !s)
		return error < 0 ? error : -ENOENT;
	*endless = s->endless;
	return s->fd = fake_fd_of_file();
}

int port_stream_read(int fd, void *buf, size_t len)
{
	struct stream *s = state.streams;
	int error = fake_call(FAKE_STREAM_READ);

	while (s && s->fd != fd)
		s = s->next;
	if (error < 0)
		return error;
	if (!s)
		return fake_recv(fd, buf, len, NULL);
	if (s->at == s->len)
		return s->endless ? -EAGAIN : 0;
	if (len > s->len - s->at)
		len = s->len - s->at;
	memcpy(buf, s->bytes + s->at, len);
	s->at += len;
	return (int)len;
}

int port_stream_create(const char *path)
{
	struct stream *s = state.streams;
	int error = fake_call(FAKE_STREAM_OPEN);

	if (error < 0)
		return error;
	while (s && strcmp(s->path, path) != 0)
		s = s->next;
	if (!s) {
		fake_stream_new(path, false);
		s = state.streams;
	}
	s->len = 0;
	return s->fd = fake_fd_of_file();
}

int port_stream_write(int fd, const void *buf, size_t len)
{
	struct stream *s = state.streams;
	int error = fake_call(FAKE_STREAM_WRITE);

	while (s && s->fd != fd)
		s = s->next;
	if (error < 0)
		return error;
	if (!s)
		return fake_terminal_write(fd, buf, len);
	if (fake.in_pieces && len > 1)
		len = 1 + fake_random((uint32_t)len);
	fake_stream_feed(s->path, buf, len);
	return (int)len;
}

size_t fake_stream_written(const char *path, void *bytes, size_t size)
{
	const struct stream *s = state.streams;

	while (s && strcmp(s->path, path) != 0)
		s = s->next;
	if (!s)
		fake_die("no stream %s", path);
	memcpy(bytes, s->bytes, s->len < size ? s->len : size);
	return s->len;
}

/* A new life has nothing open. */
void fake_files_kill(void)
{
	for (struct fake_image *i = state.images; i; i = i->next)
		i->opens = 0;
	for (struct stream *s = state.streams; s; s = s->next)
		s->fd = -1;
}

void fake_files_reset(void)
{
	while (state.images) {
		struct fake_image *i = state.images;

		state.images = i->next;
		free(i->bytes);
		free(i->stable);
		free(i->dirty);
		free(i);
	}
	while (state.streams) {
		struct stream *s = state.streams;

		state.streams = s->next;
		free(s->bytes);
		free(s);
	}
}
