#!/bin/sh
# Makes a Debian trixie with CBMC in it, once, and prints where: under $VUBOX_CACHE
# (~/.cache/vubox). The Debian that vubox is built on, bookworm, has no CBMC 6.
#
#     sh tests/proofs/prepare.sh
#
# It needs root, debootstrap and a mirror (MIRROR=URL for another one), half a minute and 400 MB.
# One that is there is not made again, unless this script has changed since.
set -eu
umask 022
cd "$(dirname "$0")"

cache=${VUBOX_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/vubox}
root=$cache/trixie
key=$(cksum <prepare.sh)
if [ "$(cat "$root/complete" 2>/dev/null)" = "$key" ]; then
	echo "$root"
	exit 0
fi

export PATH="$PATH:/usr/sbin:/sbin"
if [ "$(id -u)" != 0 ]; then
	echo "prepare.sh: a chroot is made and used by root only" >&2
	exit 1
fi
if ! command -v debootstrap >/dev/null; then
	echo "prepare.sh: debootstrap is not installed (tests/install.sh proofs)" >&2
	exit 1
fi
mkdir -p "$cache"
new=$(mktemp -d "$cache/trixie.XXXXXX")
trap 'rm -rf "$new"' EXIT
trap 'exit 1' HUP INT TERM

# CBMC has gcc preprocess what it reads.
echo "prepare.sh: making $root" >&2
debootstrap --variant=minbase --include=cbmc,gcc,libc6-dev trixie "$new/root" \
	"${MIRROR:-http://deb.debian.org/debian}" >"$new/log" 2>&1 || {
	tail -n 5 "$new/log" >&2
	echo "prepare.sh: debootstrap cannot make a trixie" >&2
	exit 1
}
rm -rf "$new"/root/var/cache/apt/* "$new"/root/var/lib/apt/lists/* "$new"/root/usr/share/doc/* \
	"$new"/root/usr/share/man/* "$new"/root/usr/share/locale/*
echo "$key" >"$new/root/complete"
rm -rf "$root"
mv "$new/root" "$root"
echo "$root"
