#!/bin/sh
# The socket device under Linux' driver, in a guest of QEMU and in User Mode Linux: bytes both ways,
# from both sides, half-closed connections, many of them, and messages.
cd "$(dirname "$0")/../.." || exit 1
. tests/guest/lib.sh

helpers=
gcc -static -O1 -o "$tmp/vsock" tests/guest/vsock.c || give_up "cannot build what runs in the guest"
mkdir -p "$tmp/root"
cp "$tmp/vsock" "$tmp/root/vsock"

cat >"$tmp/inside" <<'END'
pours()
{
	timeout 60 /vsock pour 1001 3000000
}

takes_messages()
{
	timeout 60 /vsock messages 1002
}

opens_many()
{
	ulimit -n 2048
	timeout 60 /vsock many 1003 200
}

is_called()
{
	/vsock serve 2001 5 >/tmp/serving &
	wait_for [ -s /tmp/serving ]
	host dial
	wait
}

finds_nobody()
{
	! timeout 20 /vsock pour 1999 1 2>/tmp/why || fail "somebody is there"
	grep -q reset /tmp/why || fail "$(cat /tmp/why)"
}

check "the guest pours bytes to the host, and gets them back" pours
check "messages go there and back" takes_messages
check "200 connections at a time" opens_many
check "the host connects to the guest" is_called
check "a port where nobody listens" finds_nobody
check "nothing in the kernel's log" log_is_clean
END

helper()
{
	"$tmp/vsock" "$@" &
	helpers="$helpers $!"
	wait_for [ -S "$2" ]
}

on_dial()
{
	check "the host pours bytes to the guest, and gets them back" \
		timeout 60 "$tmp/vsock" dial "$tmp/v.sock" 2001 1000000 5
}

serve()
{
	title=$1
	rm -f "$tmp"/v.sock_*
	start_vubox vsock --socket-path="$tmp/vhost.sock" --guest-cid=42 --uds-path="$tmp/v.sock"
	helper echo "$tmp/v.sock_1001" 1
	helper echoes "$tmp/v.sock_1002" 1
	helper echo "$tmp/v.sock_1003" 200
}

stop()
{
	for pid in $helpers; do
		kill "$pid" 2>/dev/null || :
	done
	helpers=
	rm -f "$tmp"/v.sock_*
	end_vubox
}

serve "vsock, User Mode Linux"
boot_uml 256M rings=packed "virtio_uml.device=$tmp/vhost.sock:19" <"$tmp/inside"
stop

serve "vsock, QEMU, $rings"
add_device vhost-user-vsock-pci vhost
boot_qemu 512M memfd <"$tmp/inside"
stop
exit $failed
