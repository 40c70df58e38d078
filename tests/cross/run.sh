#!/bin/sh
# Cross builds with a musl toolchain (64 and 32 bits), and what they do when qemu-user runs them.
#
# hang guard: 900 s
set -u
cd "$(dirname "$0")/../.." || exit 2

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
unset MAKEFLAGS MFLAGS MAKELEVEL VUBOX
failed=0

# NAME WHY
case_is()
{
	if [ -z "$2" ]; then
		echo "ok cross $1"
	else
		failed=1
		echo "not ok cross $1: $2 (replay: tests/cross/run.sh)"
	fi
}

# Protocol suites that make sense there, and cases of them that cannot hold under qemu-user: it is
# larger than vubox, a 32-bit process maps no 6 GiB, and its offsets are cut at 4 GiB (up to 7.2).
# Those that ask for io_uring by name are told that there is none. All hold in the native run.
protos='messages memory rings sizes blk config inflight framing rng life'
not_here='a_thousand_connections_leave|more_than_4_gib|mmap_offsets_of_any|_uring(_|$)'
no_uring='this machine has no such I/O engine'

# Runs a suite on the cross-built binary; its cases are ours.
suite()
{
	arch=$1
	shift
	VUBOX=$tmp/vubox-$arch "$@" >"$tmp/cases"
	grep -E '^(ok|not ok|skip) ' "$tmp/cases" | grep -v "$no_uring" >"$tmp/lines" ||
		case_is "$arch: $1" "it has no case that holds"
	! grep -q '^not ok ' "$tmp/lines" || failed=1
	sed "s/^\(ok\|not ok\|skip\) /\1 $arch /" "$tmp/lines"
}

# The names of a protocol suite's cases, but those above.
cases_of()
{
	"build/tests/proto/$1" --list | grep -Ev "$not_here"
}

# qemu-user has no io_uring, at least up to 7.2: one that has is welcome to say so.
why_not_fallback()
{
	truncate -s 1M "$tmp/image"
	timeout 2 "$tmp/vubox-$1" blk --socket-path="$tmp/sock" --blk-file="$tmp/image" -v \
		>"$tmp/said" 2>&1
	grep -q 'I/O by sync: .*io_uring' "$tmp/said" || grep -q 'I/O by mmap: ' "$tmp/said" ||
		head -n 1 "$tmp/said"
}

# Nor has it seccomp: then --sandbox by name is an error, and by default it is only said.
why_not_sandboxed()
{
	missing=$(grep -c 'sandbox: no seccomp here' "$tmp/said")
	timeout 2 "$tmp/vubox-$1" rng --socket-path="$tmp/sock" --sandbox=seccomp >"$tmp/named" 2>&1
	status=$?
	if [ "$missing" = 1 ]; then
		[ $status = 1 ] || echo "status $status by name: $(cat "$tmp/named")"
		grep -q 'sandbox: no seccomp here' "$tmp/named" || cat "$tmp/named"
	else
		[ $status != 1 ] || cat "$tmp/named"
	fi
}

cross()
{
	arch=$1 prefix=$2
	build=build/$arch
	if ! command -v "qemu-$arch" >/dev/null ||
			! tools=$(sh tests/cross/toolchain.sh "$arch"); then
		echo "skip cross $arch: no qemu-$arch, or no toolchain"
		return
	fi
	PATH=$tools:$PATH make CROSS="$prefix" BUILD="$build" "$build/vubox" >"$tmp/make" 2>&1 || {
		cat "$tmp/make" >&2
		case_is "$arch: make CROSS=$prefix" "it fails"
		return
	}
	case_is "$arch: make CROSS=$prefix" ""
	case_is "$arch: the binary is static" "$(readelf -lW "$build/vubox" | grep INTERP)"
	"$tools/${prefix}strip" -o "$tmp/stripped" "$build/vubox"
	echo "# $arch: $(wc -c <"$tmp/stripped") bytes stripped" >&2

	cat >"$tmp/vubox-$arch" <<-END
	#!/bin/sh
	exec qemu-$arch -0 "\$0" "$PWD/$build/vubox" "\$@"
	END
	chmod +x "$tmp/vubox-$arch"
	why_not_fallback "$arch" >"$tmp/why"
	case_is "$arch: --io=auto takes another engine than io_uring" "$(cat "$tmp/why")"
	case_is "$arch: --sandbox without seccomp" "$(why_not_sandboxed "$arch")"
	suite "$arch" tests/cli/usage.sh
	suite "$arch" tests/cli/serve.sh
	for proto in $protos; do
		# shellcheck disable=SC2046 # a name a word
		suite "$arch" build/tests/proto/$proto $(cases_of $proto)
	done
}

make -s proto-suites || exit 1
cross aarch64 aarch64-linux-musl-
cross arm arm-linux-musleabihf-
exit $failed
