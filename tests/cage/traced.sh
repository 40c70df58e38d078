#!/bin/sh
# What a serving vubox calls on another architecture, where qemu-user can show it but has no seccomp
# to refuse it: every call behind the point where the cage is closed must be on the list of that
# architecture and libc (port/calls.sh). The load is that of the protocol suites.
#
# hang guard: 900 s
set -u
cd "$(dirname "$0")/../.." || exit 2

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
unset MAKEFLAGS MFLAGS MAKELEVEL VUBOX
failed=0
life='a_second_front_end_is_turned_away disconnecting_under_load_sync_split
	two_devices_of_one_process signals_end_it_cleanly_sync a_listening_descriptor
	a_connected_descriptor client_mode_connects_and_connects_again'
inflight='a_reset_forgets_what_was_in_flight_split a_reset_forgets_what_was_in_flight_packed
	resubmitted_once_in_the_order_of_counters_split
	resubmitted_once_in_the_order_of_counters_packed'

case_is()
{
	if [ -z "$2" ]; then
		echo "ok cage traced $1"
	else
		failed=1
		echo "not ok cage traced $1: $2 (replay: tests/cage/traced.sh)"
	fi
}

# The names of the calls behind seccomp(2), which fails there, and how often they are made.
calls_inside()
{
	awk '
		FNR == 1 { inside = 0 }
		/^[0-9]+ seccomp\(/ { inside = 1; next }
		inside && match($0, /^[0-9]+ [a-z_0-9]+\(/) { sub(/\(.*/, ""); count[$2]++ }
		END { for (name in count) print count[name], name }
	' "$tmp/traces"/*
}

# traced NAME QEMU CC MAKE-ARGUMENTS...
traced()
{
	name=$1 qemu=$2 cc=$3
	shift 3
	if ! command -v "$qemu" >/dev/null || ! command -v "$cc" >/dev/null; then
		echo "skip cage traced $name: no $qemu, or no $cc"
		return
	fi
	rm -rf "$tmp/traces"
	mkdir "$tmp/traces"
	if ! make "$@" BUILD="build/cage-$name" "build/cage-$name/vubox" >"$tmp/make" 2>&1; then
		cat "$tmp/make" >&2
		case_is "$name" "make $* fails"
		return
	fi
	cat >"$tmp/vubox" <<-END
	#!/bin/sh
	exec $qemu -strace -D "$tmp/traces/\$\$" -0 "\$0" "$PWD/build/cage-$name/vubox" "\$@"
	END
	chmod +x "$tmp/vubox"
	# Whether they pass is for tests/cross to say; here they are what makes it call.
	make -s proto-suites
	for suite in messages memory blk config rng "life $life" "inflight $inflight"; do
		# shellcheck disable=SC2086 # a suite and its cases
		set -- $suite
		suite=$1
		shift
		VUBOX=$tmp/vubox WAIT_MS=4000 timeout 200 "build/tests/proto/$suite" "$@" \
			>"$tmp/suite.$suite" 2>&1
	done
	grep -oE '^(CALL|RULE)\([a-z_0-9]+' "build/cage-$name/calls.h" | sed 's/.*(//' |
		sort -u >"$tmp/allowed"
	calls_inside >"$tmp/inside"
	awk '{ print $2 }' "$tmp/inside" | sort >"$tmp/names"
	case_is "$name: what it calls is on the list" \
		"$(comm -23 "$tmp/names" "$tmp/allowed" | paste -sd ' ')"
	# That the traces have something in them.
	for call in close exit_group recvmsg sendmsg pwritev fallocate; do
		case_is "$name: $call was seen" "$(
			grep -qx $call "$tmp/names" || paste -sd ' ' "$tmp/names")"
	done
	echo "# $name: $(awk '{ n += $1 } END { print n }' "$tmp/inside") calls, $(wc -l \
		<"$tmp/names") of $(wc -l <"$tmp/allowed"); not seen:" \
		"$(comm -13 "$tmp/names" "$tmp/allowed" | paste -sd ' ')"
}

for arch in aarch64 arm; do
	tools=$(sh tests/cross/toolchain.sh $arch) && PATH=$tools:$PATH
done
traced aarch64-musl qemu-aarch64 aarch64-linux-musl-gcc CROSS=aarch64-linux-musl-
traced aarch64-glibc qemu-aarch64 aarch64-linux-gnu-gcc CROSS=aarch64-linux-gnu-
traced arm-musl qemu-arm arm-linux-musleabihf-gcc CROSS=arm-linux-musleabihf-
traced arm-glibc qemu-arm arm-linux-gnueabihf-gcc CROSS=arm-linux-gnueabihf-
exit $failed
