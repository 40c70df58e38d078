#!/bin/sh
# The suites that depend on rings once more, with packed virtqueues in QEMU's guests.
cd "$(dirname "$0")/../.." || exit 1

failed=0
for suite in boot queues reboot kill; do
	RINGS=packed sh "tests/guest/$suite.sh" || failed=1
done
exit $failed
