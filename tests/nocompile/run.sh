#!/bin/sh
# Files that must not compile, because the types make the mistake impossible. Each one compiles with
# -DCONTROL, so that it fails for its own reason and no other, and the compiler must say what the
# line `expect:` (an extended regular expression) says.
set -u
cd "$(dirname "$0")/../.." || exit 2

CFLAGS="-std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -Iinclude -fsyntax-only"
failed=0

# $1 compiler, $2 file
try()
{
	name="$1 $(basename "$2" .c)"
	replay="(replay: $1 $CFLAGS $2)"
	expect=$(sed -n 's/^ \* expect: //p' "$2")
	if ! said=$($1 $CFLAGS -DCONTROL "$2" 2>&1); then
		echo "not ok $name: the control does not compile $replay"
		echo "$said" >&2
	elif said=$($1 $CFLAGS "$2" 2>&1); then
		echo "not ok $name: it compiles $replay"
	elif [ -z "$expect" ] || ! echo "$said" | grep 'error:' | grep -Eq -e "$expect"; then
		echo "not ok $name: it fails, but not by \"$expect\" $replay"
		echo "$said" >&2
	else
		echo "ok $name"
		return
	fi
	failed=1
}

for compiler in gcc clang; do
	if ! command -v $compiler >/dev/null; then
		echo "skip $compiler: not installed"
		continue
	fi
	for file in tests/nocompile/*.c; do
		try $compiler "$file"
	done
done
exit $failed
