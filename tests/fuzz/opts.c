/* Command lines and config files: any text ends in service, in a message, or in what was asked. */
#include "fuzz.h"
#include "option.h"
#include "rig.h"

enum { TEXT_MAX = 2000 };

/* What every way to end promises. */
static void check_end(enum fake_end end)
{
	if (end == FAKE_ABORTED)
		fake_die("it aborted");
	if (end == FAKE_IDLE || end == FAKE_TIME)
		return;
	if (end != FAKE_EXITED || fake.exit_status > EXIT_USAGE)
		fake_die("it ended with %d, status %d", end, fake.exit_status);
	if (fake.exit_status != EXIT_OK && fake.log_lines == 0)
		fake_die("it failed, and says nothing");
	if (fake.exit_status == EXIT_OK && fake.out_len == 0)
		fake_die("it ended well, and says nothing");
	for (size_t i = 0; i < fake.log_len; i++)
		if ((unsigned char)fake.log[i] < ' ' && fake.log[i] != '\n')
			fake_die("a control character in a log line");
}

/* The first byte decides: 0 for a config file, else a command line whose words end at newlines. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	char text[TEXT_MAX + 1];
	struct input in = { bytes, len };
	bool is_file = take8(&in) % 2 == 0;

	text[take_bytes(&in, text, TEXT_MAX)] = 0;
	life_fresh();
	fake_reset(1);
	fake_image_new("/img", 1 << 16);
	fake_stream_new("/dev/hwrng", true);
	fake.end_ns = fake.now_ns + 5000000000; /* a client tries for ever */
	if (is_file) {
		fake_file_new("/f", text);
		check_end(rig_main("vubox --config=/f"));
	} else {
		check_end(rig_words(text, '\n'));
	}
	return 0;
}
