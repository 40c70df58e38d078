#!/bin/sh
# The network card at passt: user-mode networking without privilege, over --peer-unix. In a network
# of its own: 10.77.0.1, whose router is nobody.
cd "$(dirname "$0")/../.." || exit 1
if ! command -v passt >/dev/null; then
	echo "skip guest passt: there is no passt"
	exit 0
fi
if [ "${OWN_NETWORK:-}" != yes ]; then
	if ! unshare --net true 2>/dev/null; then
		echo "skip guest passt: needs root, to make a network of its own"
		exit 0
	fi
	sh tests/guest/prepare.sh >/dev/null || exit 1 # while there is a network
	OWN_NETWORK=yes exec unshare --net "$0" "$@"
fi
. tests/guest/lib.sh

ip link set lo up
ip link add host type veth peer name other
ip addr add 10.77.0.1/24 dev host
ip link set host up
ip link set other up
ip route add default via 10.77.0.254
iperf3 --server >/dev/null 2>&1 &
servers=$!
# A passt ends by itself when vubox does.
trap 'end_all; kill $servers 2>/dev/null || :; rm -rf "$tmp"' EXIT

# passt becomes nobody, who makes its socket.
chmod 711 "$tmp"
mkdir -m 777 "$tmp/passt"
connects()
{
	passt --foreground --socket "$tmp/passt/socket" >"$tmp/passt.log" 2>&1 &
	servers="$servers $!"
	passt=$!
	wait_for test -S "$tmp/passt/socket"
}

# Another one comes after it, and the guest needs nothing else.
on_another()
{
	kill "$passt"
	wait "$passt" 2>/dev/null || :
	rm -f "$tmp/passt/socket"
	connects
}

connects
start_vubox net --socket-path="$tmp/net.sock" --peer-unix="$tmp/passt/socket"
boot_uml 384M "virtio_uml.device=$tmp/net.sock:1" <<'END'
cat >/bin/lease <<'SCRIPT'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr flush dev eth0
ip addr add "$ip/24" dev eth0
ip link set eth0 mtu "${mtu:-1500}"
ip route add default via "$router"
echo "$router" >/tmp/router
SCRIPT
chmod +x /bin/lease
ip link set eth0 up

gets_an_address()
{
	wait_for udhcpc -i eth0 -n -q -t 2 -T 1 -s /bin/lease
	same "its address" "$(ip -4 addr show eth0 | awk '/inet/ { print $2 }')" 10.77.0.1/24
	same "its MTU" "$(cat /sys/class/net/eth0/mtu)" 65520
}

# Only for as long as that: a reader that is slow has Debian 12's passt stall.
talks()
{
	iperf3 --client "$(cat /tmp/router)" --time 2
	iperf3 --client "$(cat /tmp/router)" --time 2 --reverse
}

check "gets an address from passt" gets_an_address
check "talks to the host, both ways" talks
host another
check "gets an address from another passt" gets_an_address
check "talks on" talks
check "nothing in the kernel's log" log_is_clean
END
check "vubox says that one went" grep -q 'passt/socket' "$tmp/vubox.log"
finish
