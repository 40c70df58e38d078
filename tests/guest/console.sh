#!/bin/sh
# Consoles and ports, with User Mode Linux and with a QEMU that has a front-end for any device. Two
# guests each, one after the other: of two consoles of one guest, it is not known which is hvc0.
cd "$(dirname "$0")/../.." || exit 1
QEMU=$(sh tests/guest/prepare_qemu.sh) || QEMU=none
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
cat >"$tmp/common" <<'END'
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

# boot FILE: with three ports, for each of which there are two queues, and two more.
boot()
{
	cat "$tmp/common" "$1" >"$tmp/test"
	rings=packed # as both front-ends take what they are offered
	if [ "$front_end" = QEMU ]; then
		qemu_devices=
		qemu_any console 3 8 12
		boot_qemu 512M memfd <"$tmp/test"
	else
		boot_uml 256M rings=packed "virtio_uml.device=$tmp/console.sock:3" <"$tmp/test"
	fi
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
	python3 tests/guest/peer.py "$tmp/deaf" stay 600 & # itself, to be killed
	deaf=$!
	sleep 0.5
}

on_heard()
{
	kill $deaf
}

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

rotated()
{
	same "the older logs" "$(stat -c %s "$tmp/guest.log.1" "$tmp/guest.log.2" | tr '\n' ' ')" \
		"65536 65536 "
	[ ! -e "$tmp/guest.log.3" ] || fail "there is a third one"
	cat "$tmp/guest.log.2" "$tmp/guest.log.1" "$tmp/guest.log" >"$tmp/logged"
	tail -c "$(stat -c %s "$tmp/logged")" "$tmp/numbers" | cmp - "$tmp/logged"
}

with_sockets()
{
	rm -f "$tmp"/guest.log*
	start_vubox console --socket-path="$tmp/console.sock" --backend="unix:$tmp/hvc0" \
		--port="org.test.deaf:unix:$tmp/deaf" --port="org.test.log:file:$tmp/guest.log" \
		--rotate=64K --rotate-count=2
	boot "$tmp/first"
	check "logs were rotated" rotated
	end_vubox
}

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

with_terminal()
{
	start_vubox console --socket-path="$tmp/console.sock" --pty-link="$tmp/pty" --backpressure \
		--port="org.test.slow:unix:$tmp/slow" --port="org.test.data:unix:$tmp/data"
	boot "$tmp/second"
	end_vubox
}

for front_end in "User Mode Linux" QEMU; do
	title="console, $front_end"
	if [ "$front_end $QEMU" = "QEMU none" ]; then
		echo "# guest $title: not tested, for no such QEMU is to be had"
		continue
	fi
	with_sockets
	with_terminal
done
exit $failed
