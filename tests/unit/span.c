/* src/base/span.c: cursors over spans, whatever their cuts. */
#include "span.h"

#include "fake_port.h"
#include "le.h"
#include "unit.h"

enum { COUNT = 6 };

/* "abcdefghij" in pieces, with an empty span among them; the last two bytes are never part of it.
 */
static char text[12 + 1];
static struct span spans[COUNT];

static struct guest *at(size_t off)
{
	return (struct guest *)(text + off);
}

static struct cursor cut(void)
{
	static const size_t lens[COUNT] = { 1, 3, 0, 2, 4, 2 };
	size_t off = 0;

	strcpy(text, "abcdefghij--");
	for (int i = 0; i < COUNT; i++) {
		spans[i] = (struct span){ at(off), lens[i] };
		off += lens[i];
	}
	return (struct cursor){ .span = spans, .left = 10 };
}

CASE(a_reader_goes_over_every_cut)
{
	struct reader r = { cut() };
	char got[11] = "";

	CHECK(reader_get(&r, got, 10));
	CHECK_TEXT(got, "abcdefghij");
	CHECK_EQ(reader_left(&r), 0);
}

/* Each is copied in its own way; not a byte more than that. */
CASE(every_length_is_copied)
{
	enum { MOST = 300 };
	static char from[MOST + 1], got[MOST + 1];

	for (uint32_t i = 0; i < MOST; i++)
		from[i] = (char)(i * 7 + i / 256);
	for (uint32_t len = 1; len <= MOST; len++) {
		struct span one = { (struct guest *)from, len }, two = { (struct guest *)got, len };
		struct reader r = { { .span = &one, .left = len } };
		struct writer w = { { .span = &two, .left = len } };

		memset(got, '-', sizeof(got));
		CHECK(reader_get(&r, got, len));
		CHECK_BYTES(got, from, len);
		CHECK_EQ(got[len], '-');
		memset(got, '-', sizeof(got));
		CHECK(writer_put(&w, from, len));
		CHECK_BYTES(got, from, len);
		CHECK_EQ(got[len], '-');
		r.at = (struct cursor){ .span = &one, .left = len };
		w.at = (struct cursor){ .span = &two, .left = len };
		memset(got, '-', sizeof(got));
		CHECK(writer_copy(&w, &r, len));
		CHECK_BYTES(got, from, len);
		CHECK_EQ(got[len], '-');
	}
}

CASE(a_reader_goes_on_where_it_was)
{
	for (uint32_t first = 0; first <= 10; first++) {
		struct reader r = { cut() };
		char got[11] = "";

		CHECK(reader_get(&r, got, first));
		CHECK_EQ(reader_left(&r), 10 - first);
		CHECK(reader_get(&r, got + first, 10 - first));
		CHECK_TEXT(got, "abcdefghij");
	}
}

CASE(a_reader_gives_all_or_nothing)
{
	struct reader r = { cut() };
	char got[12] = "unchanged";

	CHECK(!reader_get(&r, got, 11));
	CHECK_TEXT(got, "unchanged");
	CHECK_EQ(reader_left(&r), 10);
	CHECK(reader_get(&r, got, 10));
	CHECK(!reader_get(&r, got, 1));
	CHECK(reader_get(&r, got, 0));
}

CASE(a_hole_gives_nothing)
{
	struct reader r = { cut() };
	char got[11] = "";

	spans[3].base = NULL;
	CHECK(!reader_get(&r, got, 5));
	CHECK_TEXT(got, "");
	CHECK(reader_get(&r, got, 4));
	CHECK_TEXT(got, "abcd");
	CHECK(!reader_get(&r, got, 1));
	CHECK_EQ(reader_left(&r), 6);
}

CASE(a_writer_goes_over_every_cut)
{
	for (uint32_t first = 0; first <= 10; first++) {
		struct writer w = { cut() };

		CHECK(writer_put(&w, "0123456789", first));
		CHECK(writer_put(&w, &"0123456789"[first], 10 - first));
		CHECK_EQ(writer_left(&w), 0);
		CHECK_TEXT(text, "0123456789--");
	}
}

CASE(a_writer_takes_all_or_nothing)
{
	struct writer w = { cut() };

	CHECK(!writer_put(&w, "0123456789X", 11));
	spans[4].base = NULL;
	CHECK(!writer_put(&w, "0123456789", 7));
	CHECK_TEXT(text, "abcdefghij--");
	CHECK(writer_put(&w, "012345", 6));
	CHECK_TEXT(text, "012345ghij--");
}

CASE(the_last_byte_is_cut_off)
{
	struct writer w = { cut() }, last;
	struct span own;

	CHECK(writer_cut_last(&w, &own, &last));
	CHECK_EQ(writer_left(&w), 9);
	CHECK_EQ(writer_left(&last), 1);
	CHECK(!writer_put(&last, "XY", 2));
	CHECK(writer_put(&last, "X", 1));
	CHECK(writer_put(&w, "012345678", 9));
	CHECK_TEXT(text, "012345678X--");
}

CASE(the_only_byte_is_cut_off)
{
	struct writer w = { cut() }, last;
	struct span own;

	w.at.left = 1;
	CHECK(writer_cut_last(&w, &own, &last));
	CHECK_EQ(writer_left(&w), 0);
	CHECK(!writer_cut_last(&w, &own, &last));
	CHECK(writer_put(&last, "X", 1));
	CHECK_TEXT(text, "Xbcdefghij--");
}

CASE(the_last_byte_may_stand_alone_behind_an_empty_span)
{
	struct writer w = { cut() }, last;
	struct span own;

	w.at.left = 5;
	CHECK(writer_cut_last(&w, &own, &last));
	CHECK(writer_put(&last, "X", 1));
	CHECK_TEXT(text, "abcdXfghij--");
}

CASE(the_last_byte_may_be_in_a_hole)
{
	struct writer w = { cut() }, last;
	struct span own;

	spans[4].base = NULL;
	CHECK(writer_cut_last(&w, &own, &last));
	CHECK(!writer_put(&last, "X", 1));
}

CASE(taking_trims_both_ends)
{
	struct writer w = { cut() };
	struct sink sink;

	w.at.left = 8;
	CHECK(writer_put(&w, "01", 2));
	CHECK(writer_take(&w, &sink));
	CHECK_EQ(writer_left(&w), 0);
	CHECK_EQ(sink.count, 4);
	CHECK(sink.spans == &spans[1]);
	CHECK(spans[1].base == at(2) && spans[1].len == 2);
	CHECK(spans[3].base == at(4) && spans[3].len == 2);
	CHECK(spans[4].base == at(6) && spans[4].len == 2);
}

CASE(taking_steps_over_what_is_used_up)
{
	struct reader r = { cut() };
	struct source source;
	char got[4];

	CHECK(reader_get(&r, got, 4));
	CHECK(reader_take(&r, &source));
	CHECK(source.spans == &spans[3]);
	CHECK_EQ(source.count, 2);
	CHECK_EQ(spans[3].len + spans[4].len, 6);
}

CASE(a_part_of_one_span_is_taken)
{
	struct reader r = { .at = { .span = spans, .left = 3 } };
	struct source source;
	char got;

	cut();
	spans[0].len = 10;
	CHECK(reader_get(&r, &got, 1));
	CHECK(reader_take(&r, &source));
	CHECK_EQ(source.count, 1);
	CHECK(spans[0].base == at(1) && spans[0].len == 2);
}

CASE(holes_are_not_taken)
{
	struct reader r = { cut() };
	struct source source;

	spans[4].base = NULL;
	CHECK(!reader_take(&r, &source));
	CHECK_EQ(reader_left(&r), 10);
}

static void take_nothing(void *arg)
{
	struct reader r = { cut() };
	struct source source;

	(void)arg;
	r.at.left = 0;
	(void)reader_take(&r, &source);
}

CASE(taking_nothing_is_a_bug)
{
	CHECK_EQ(fake_run(take_nothing, NULL), FAKE_ABORTED);
}

CASE(loads_and_stores_are_little_endian)
{
	uint16_t word = 0;
	unsigned char bytes[2];

	guest_store16((struct guest *)&word, 0x1234);
	memcpy(bytes, &word, 2);
	CHECK_EQ(bytes[0], 0x34);
	CHECK_EQ(bytes[1], 0x12);
	CHECK_EQ(guest_load16((struct guest *)&word), 0x1234);
	guest_store16_release((struct guest *)&word, 0xfedc);
	CHECK_EQ(guest_load16_acquire((struct guest *)&word), 0xfedc);
}

CASE(little_endian_values_have_their_bytes_in_order)
{
	le16 a = le16_put(0x0102);
	le32 b = le32_put(0x01020304);
	le64 c = le64_put(0x0102030405060708);

	CHECK_BYTES(&a, "\2\1", 2);
	CHECK_BYTES(&b, "\4\3\2\1", 4);
	CHECK_BYTES(&c, "\10\7\6\5\4\3\2\1", 8);
	CHECK_EQ(le16_get(a), 0x0102);
	CHECK_EQ(le32_get(b), 0x01020304);
	CHECK_EQ(le64_get(c), 0x0102030405060708);
}

/* To other pieces than it is from, with any cuts. */
CASE(a_copy_goes_over_the_cuts_of_both)
{
	static char other[12];

	for (uint32_t first = 0; first <= 10; first++)
		for (uint32_t edge = 0; edge <= 10; edge++) {
			struct span pieces[] = { { (struct guest *)other, edge },
				{ (struct guest *)(other + edge), 10 - edge } };
			struct writer w = { { .span = pieces, .left = 10 } };
			struct reader r = { cut() };

			memset(other, 0, sizeof(other));
			CHECK(writer_copy(&w, &r, first));
			CHECK_EQ(reader_left(&r), 10 - first);
			CHECK_EQ(writer_left(&w), 10 - first);
			CHECK(writer_copy(&w, &r, 10 - first));
			CHECK_TEXT(other, "abcdefghij");
		}
}

CASE(a_copy_is_all_or_nothing)
{
	static char other[11];
	struct span piece = { (struct guest *)other, 10 }, hole = { NULL, 10 };
	struct writer w = { { .span = &piece, .left = 10 } };
	struct writer nowhere = { { .span = &hole, .left = 10 } };
	struct reader r = { cut() };

	CHECK(!writer_copy(&nowhere, &r, 1));
	CHECK(!writer_copy(&w, &r, 11));
	spans[3].base = NULL;
	CHECK(!writer_copy(&w, &r, 5));
	CHECK_TEXT(other, "");
	CHECK(writer_copy(&w, &r, 0));
	CHECK_EQ(writer_left(&w), 10);
	CHECK(writer_copy(&w, &r, 4));
	CHECK_TEXT(other, "abcd");
}
