#!/bin/sh
# The protocol suites once more, against a vubox built with AddressSanitizer and UBSan. To replay a
# case: VUBOX=build/tests/sanitize/vubox VUBOX_SANITIZED=1 build/tests/proto/SUITE CASE
#
# hang guard: 900 s
set -u
cd "$(dirname "$0")/../.." || exit 2

build=build/tests/sanitize
mkdir -p "$build"
CFLAGS="-std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Iinclude -Iport -O1 -g"
SANITIZE="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
# shellcheck disable=SC2086 # flags are words
if ! sh port/calls.sh clang port/*.c >"$build/calls.h" || ! clang -I"$build" $CFLAGS $SANITIZE \
		src/*.c src/*/*.c port/*.c -o "$build/vubox"; then
	echo "not ok sanitize: it does not compile (replay: tests/sanitize/run.sh)"
	exit 1
fi

# SIGBUS is ours to handle; what is too large or too slow here is left to the real binary.
export ASAN_OPTIONS=handle_sigbus=0:detect_leaks=1
export VUBOX="$build/vubox" VUBOX_SANITIZED=1
# Lives and turns are many in the native run; here it is what they step on that counts.
export KILLS=10 TURNS=40
not_here='no_address_space'
make -s proto-suites || exit 1
failed=0
for suite in tests/proto/[!f]*.py build/tests/proto/*; do
	case $suite in
	*.py) cases= ;;
	*) cases=$("$suite" --list | grep -v "$not_here") ;;
	esac
	# shellcheck disable=SC2086 # a name a word
	"$suite" $cases >"$build/cases" || failed=1
	grep -E '^(ok|not ok|skip) ' "$build/cases" | sed 's/^\(ok\|not ok\|skip\) /&sanitized /'
done
exit "$failed"
