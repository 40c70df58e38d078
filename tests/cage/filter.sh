#!/bin/sh
# The seccomp filter of each architecture and libc that this machine has a compiler for, run by a
# BPF machine of our own (tests/cage/filter.c).
#
# hang guard: 300 s
set -u
cd "$(dirname "$0")/../.." || exit 2

out=build/tests/cage/filter
mkdir -p "$out"
failed=0

# filter NAME COMPILER RUNNER...
filter()
{
	name=$1 cc=$2
	shift 2
	if ! command -v "$cc" >/dev/null || { [ $# -gt 0 ] && ! command -v "$1" >/dev/null; }; then
		echo "skip cage filter $name: no $cc $*"
		return
	fi
	mkdir -p "$out/$name"
	if ! { sh port/calls.sh "$cc" port/*.c >"$out/$name/calls.h" &&
			"$cc" -std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -O1 -static -Wall \
			-Iinclude -Iport -I"$out/$name" tests/cage/filter.c src/base/log.c \
			src/base/text.c -o "$out/$name/filter"; }; then
		failed=1
		echo "not ok cage filter $name: it does not compile (replay: tests/cage/filter.sh)"
	elif ! "$@" "$out/$name/filter" >"$out/$name/log"; then
		failed=1
		echo "not ok cage filter $name: $(head -n 1 "$out/$name/log")" \
			"(replay: $* $out/$name/filter)"
	else
		echo "ok cage filter $name: $(grep -c '^[CR]' "$out/$name/calls.h") rules"
	fi
}

filter native-musl musl-gcc
filter native-glibc gcc
for arch in aarch64 arm; do
	tools=$(sh tests/cross/toolchain.sh $arch) && PATH=$tools:$PATH
done
filter aarch64-musl aarch64-linux-musl-gcc qemu-aarch64
filter aarch64-glibc aarch64-linux-gnu-gcc qemu-aarch64
filter arm-musl arm-linux-musleabihf-gcc qemu-arm
filter arm-glibc arm-linux-gnueabihf-gcc qemu-arm
exit $failed
