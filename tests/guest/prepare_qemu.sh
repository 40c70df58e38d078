#!/bin/sh
# Prints the name of a QEMU that has a front-end for any device (vhost-user-test-device, QEMU 11):
# the machine's own, or else Debian sid's, which is got once and kept under $VUBOX_CACHE
# (~/.cache/vubox). It is only unpacked there, with the libraries it needs, and runs in place:
# nothing is installed or mounted, and nobody needs to be root.
#
#     sh tests/guest/prepare_qemu.sh
#
# It needs a mirror (MIRROR=URL for another one), 45 MB from there, and 190 MB on the disk. One that
# is there is not got again, unless this script has changed since.
set -eu
umask 022
cd "$(dirname "$0")"

has_front_end()
{
	"$1" -device vhost-user-test-device-pci,help 2>&1 | grep '^ *virtio-id='
}

if has_front_end qemu-system-x86_64 >/dev/null; then
	echo qemu-system-x86_64
	exit 0
fi
cache=${VUBOX_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/vubox}
qemu=$cache/qemu/qemu-system-x86_64
key=$(cksum <prepare_qemu.sh)
if [ "$(cat "$cache/qemu/complete" 2>/dev/null)" = "$key" ]; then
	echo "$qemu"
	exit 0
fi

mkdir -p "$cache"
new=$(mktemp -d "$cache/qemu.XXXXXX")
trap 'rm -rf "$new"' EXIT
trap 'exit 1' HUP INT TERM

# apt-get with lists, packages and locks of its own; for it, no package is installed.
apt_get()
{
	timeout 120 apt-get -qy -o Dir::State="$new/apt" -o Dir::State::status="$new/apt/status" \
		-o Dir::Cache="$new/apt" -o Dir::Etc::sourcelist="$new/apt/sources" \
		-o Dir::Etc::sourceparts=/dev/null -o APT::Sandbox::User=root \
		-o Acquire::Languages=none -o Acquire::Retries=2 "$@"
}

get()
{
	mkdir -p "$new/apt/lists/partial" "$new/apt/archives/partial" "$new/root"
	: >"$new/apt/status"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
		"${MIRROR:-http://deb.debian.org/debian} sid main" >"$new/apt/sources"
	apt_get update -o APT::Update::Error-Mode=any &&
		apt_get install --no-install-recommends --download-only qemu-system-x86 &&
		for package in "$new"/apt/archives/*.deb; do
			dpkg-deb -x "$package" "$new/root" || return 1
		done
}

give_up()
{
	tail -n 5 "$new/log" >&2
	echo "prepare_qemu.sh: $1" >&2
	exit 1
}

echo "prepare_qemu.sh: getting Debian sid's QEMU" >&2
get >"$new/log" 2>&1 || give_up "there is no QEMU to be had from Debian sid"
rm -rf "$new/apt" "$new/root/usr/share/doc" "$new/root/usr/share/locale"
cat >"$new/qemu-system-x86_64" <<'END'
#!/bin/sh
# Made by prepare_qemu.sh: runs the QEMU beside it, with the libraries beside it.
root=$(dirname "$0")/root
libraries=$root/usr/lib/$(uname -m)-linux-gnu
share=$root/usr/share
QEMU_MODULE_DIR=$libraries/qemu exec "$libraries"/ld-linux-*.so.* --library-path "$libraries" \
	"$root/usr/bin/qemu-system-x86_64" -L "$share/qemu" -L "$share/seabios" "$@"
END
chmod +x "$new/qemu-system-x86_64"
has_front_end "$new/qemu-system-x86_64" >"$new/log" ||
	give_up "Debian sid's QEMU does not run here, or has no vhost-user-test-device"
echo "$key" >"$new/complete"
trap - EXIT
rm -rf "$new/log" "$cache/qemu"
mv "$new" "$cache/qemu"
echo "$qemu"
