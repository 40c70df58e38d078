#!/bin/sh
# make DEVICES=…: a device that is left out is not there, and costs nothing.
cd "$(dirname "$0")/../.." || exit 2
. tests/cli/lib.sh

unset MAKEFLAGS MFLAGS MAKELEVEL
all=$("$VUBOX" --list | awk '{ print $1 }')

# built WORD...: vubox with these devices only, in $tmp/build.
built()
{
	run make -s BUILD="$tmp/build" DEVICES="$*"
	[ "$status" = 0 ] || head -n 5 "$tmp/err"
}

# shellcheck disable=SC2086 # devices are words
case_is "with all devices: it builds" "$(built $all)"
full=$(stat -c %s "$tmp/build/vubox")
for device in $all; do
	others=$(echo "$all" | grep -vx "$device" | tr '\n' ' ')
	# shellcheck disable=SC2086 # devices are words
	case_is "without $device: it builds" "$(built $others)"
	case_is "without $device: the others are there" "$(
		[ "$("$tmp/build/vubox" --list | awk '{ printf "%s ", $1 }')" = "$others" ] ||
			"$tmp/build/vubox" --list
	)"
	case_is "without $device: nothing of it is left" "$(
		nm "$tmp/build/vubox.debug" | awk '{ print $3 }' | grep -E "^${device}_" || :
	)"
	bytes=$(stat -c %s "$tmp/build/vubox")
	echo "# $device is $((full - bytes)) of $full bytes"
	case_is "without $device: it is smaller" "$(
		[ "$bytes" -lt "$full" ] || echo "it has $bytes"
	)"
done
exit $failed
