#!/bin/sh
# Consoles and ports, with User Mode Linux: QEMU has no front-end for them. Two guests, one after
# the other: of two consoles that one guest has, it is not known which is hvc0.
cd "$(dirname "$0")/../.." || exit 1
. tests/guest/lib.sh

bytes=1048576
seq 200000 | head -c $bytes >"$tmp/numbers"

peer()
{
	python3 tests/guest/peer.py "$@"
}

dialogue()
{
	peer "$1" say '\n' expect "login: " say 'root\n' expect 'hello root' \
		say 'echo $((6 * 7))\n' expect 42 say 'exit\n' expect bye
}

# What both guests do; each has more of its own.
boot()
{
	cat - "$1" >"$tmp/test" <<'END'
# What a getty and a shell do, again and again.
serve_logins()
{
	while read -r _; do
		printf 'login: '
		read -r name
		echo "hello $name"
		sh
		echo bye
	done
}

opens()
{
	(: <"$1") 2>/dev/null
}

numbers()
{
	seq 200000 | head -c 1048576
}

# The device file of a port; the device says what ports it has when the driver runs already.
port()
{
	for p in /sys/class/virtio-ports/*; do
		if [ "$(cat "$p/name" 2>/dev/null)" = "$1" ]; then
			echo "/dev/$(basename "$p")"
		fi
	done
}

is_there()
{
	[ -n "$(port "$1")" ]
}

wait_for opens /dev/hvc0
serve_logins </dev/hvc0 >/dev/hvc0 2>&1 &
END
	boot_uml 256M rings=packed "virtio_uml.device=$tmp/console.sock:3" <"$tmp/test"
}

# ---- sockets and a log ----

on_socket()
{
	check "a dialogue over a socket" dialogue "$tmp/hvc0"
	check "a second client, when the first has gone" dialogue "$tmp/hvc0"
}

# The client takes nothing: what it was sent is lost, and the guest goes on all the same.
on_deaf()
{
	peer "$tmp/deaf" stay 600 &
	deaf=$!
	sleep 0.5
}

on_heard()
{
	kill $deaf
}

start_vubox console --socket-path="$tmp/console.sock" --backend="unix:$tmp/hvc0" \
	--port="org.test.deaf:unix:$tmp/deaf" --port="org.test.log:file:$tmp/guest.log" \
	--rotate=64K --rotate-count=2
cat >"$tmp/first" <<'END'
has_ports()
{
	wait_for is_there org.test.deaf
	wait_for is_there org.test.log
	same "the ports" "$(cat /sys/class/virtio-ports/*/name 2>/dev/null | tr '\n' ' ')" \
		"org.test.deaf org.test.log "
}

check "finds its ports by their names" has_ports
host socket
host deaf
numbers >"$(port org.test.deaf)"
echo "GUEST ok is not held up by a reader that takes nothing"
host heard
numbers >"$(port org.test.log)"
check "its rings are $rings" has_rings
check "nothing in the kernel's log" log_is_clean
END
boot "$tmp/first"

rotated()
{
	same "the older logs" "$(stat -c %s "$tmp/guest.log.1" "$tmp/guest.log.2" | tr '\n' ' ')" \
		"65536 65536 "
	[ ! -e "$tmp/guest.log.3" ] || fail "there is a third one"
	cat "$tmp/guest.log.2" "$tmp/guest.log.1" "$tmp/guest.log" >"$tmp/logged"
	tail -c "$(stat -c %s "$tmp/logged")" "$tmp/numbers" | cmp - "$tmp/logged"
}

check "logs were rotated" rotated
end_vubox

# ---- a pseudo-terminal, and a reader that is waited for ----

on_terminal()
{
	check "a dialogue over a pseudo-terminal" dialogue "$tmp/pty"
}

slowly()
{
	peer "$tmp/slow" slowly "$tmp/slow.got" $bytes
	cmp "$tmp/slow.got" "$tmp/numbers"
}

on_data()
{
	peer "$tmp/data" put "$tmp/numbers" get "$tmp/back" $bytes &
	data=$!
}

on_sent()
{
	wait $data || :
	check "1 MiB into a named port and back" cmp "$tmp/back" "$tmp/numbers"
}

on_slow()
{
	check "a slow reader gets all with --backpressure" slowly
}

start_vubox console --socket-path="$tmp/console.sock" --pty-link="$tmp/pty" --backpressure \
	--port="org.test.slow:unix:$tmp/slow" --port="org.test.data:unix:$tmp/data"
cat >"$tmp/second" <<'END'
# It is at its end while nobody is there on the host's side.
gets_bytes()
{
	head -c 1048576 "$data" >/tmp/numbers
	[ -s /tmp/numbers ]
}

moves_bytes()
{
	wait_for gets_bytes
	same "the sum" "$(md5sum </tmp/numbers)" "$(numbers | md5sum)"
	cat /tmp/numbers >"$data"
}

wait_for is_there org.test.data
data=$(port org.test.data)
host terminal
host data
check "gets 1 MiB and sends it back" moves_bytes
host sent
numbers >"$(port org.test.slow)" &
host slow
wait $!
END
boot "$tmp/second"
finish
