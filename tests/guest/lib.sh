# What the tests with real guests share: start vubox, boot a guest on it, and collect what both say.
# Sourced; the suite has cd'ed to the root. What runs inside the guest comes on boot_*'s stdin, and
# has the words of tests/guest/init.
# shellcheck shell=sh
set -eu

VUBOX=$(readlink -f "${VUBOX:-./vubox}")
QEMU=${QEMU:-qemu-system-x86_64}
GUARD_S=${GUARD_S:-240} # nothing but a hang takes so long
suite=$0
title=$(basename "$0" .sh)
tmp=$(mktemp -d)
: >"$tmp/vubox.log"
failed=0
qemu_devices= chardev_options= ring_options=
rings=${RINGS:-split} # the format of virtqueues that a guest of QEMU has
if [ "$rings" = packed ]; then
	ring_options=packed=on title="$title, packed" suite="RINGS=packed $suite"
fi
vubox_pid= guest_pid=
cr=$(printf '\r')
export PATH="$PATH:/usr/sbin:/sbin"
trap 'end_all; rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

# The guest's process is a child of timeout(1), which passes SIGTERM on.
end_all()
{
	[ -z "$guest_pid" ] || kill "$guest_pid" 2>/dev/null || :
	[ -z "$vubox_pid" ] || kill -s KILL "$vubox_pid" 2>/dev/null || :
}

# ---- cases ----

ok()
{
	echo "ok guest $title: $1"
}

not_ok()
{
	failed=1
	echo "not ok guest $title: $1 (replay: $suite)"
}

# check NAME COMMAND...: a case; the last thing that a failing command says is why.
check()
{
	name=$1
	shift
	set +e # for a condition would switch it off in the command, too
	why=$(set -eu; exec 2>&1; "$@")
	status=$?
	set -e
	if [ $status = 0 ]; then
		ok "$name"
	else
		echo "$why" >&2
		not_ok "$name: $(echo "$why" | tail -n 1)"
	fi
}

fail()
{
	echo "$*"
	exit 1
}

# same WHAT IS WANTED
same()
{
	[ "$2" = "$3" ] || fail "$1 is '$2' instead of '$3'"
}

# wait_for COMMAND...: until it is true; false if that takes too long.
wait_for()
{
	for _ in $(seq $((GUARD_S * 20))); do
		if "$@"; then
			return 0
		fi
		sleep 0.05
	done
	return 1
}

# ---- vubox ----

# start_vubox WORD...: returns when all its sockets are there.
start_vubox()
{
	"$VUBOX" "$@" </dev/null >>"$tmp/vubox.log" 2>&1 &
	vubox_pid=$!
	for word in "$@"; do
		case $word in
		--socket-path=*) wait_for listens "${word#*=}" ;;
		--config=*)
			# shellcheck disable=SC2013 # a path is a word
			for path in $(sed -n 's/.*--socket-path=\([^ ]*\).*/\1/p' "${word#*=}"); do
				wait_for listens "$path"
			done
			;;
		esac
	done
}

listens()
{
	kill -0 "$vubox_pid" 2>/dev/null || give_up "vubox ended at once"
	[ -S "$1" ]
}

give_up()
{
	cat "$tmp/vubox.log" >&2
	not_ok "$1"
	exit 1
}

# The last words of a suite.
finish()
{
	end_vubox
	exit $failed
}

end_vubox()
{
	kill "$vubox_pid" || :
	status=0
	wait "$vubox_pid" || status=$?
	vubox_pid=
	sed 's/^vubox: /vubox| /' "$tmp/vubox.log" >&2
	: >"$tmp/vubox.log"
	check "vubox ends well with SIGTERM" ended_well
}

ended_well()
{
	same "its exit status" "$status" 0
	sockets=$(find "$tmp" -name '*.sock')
	same "what is left of its sockets" "$sockets" ""
}

# ---- guests ----

# qemu_blk NAME [PROPERTY...]: the next guest of QEMU has a disk from the vubox at $tmp/NAME.sock.
qemu_blk()
{
	add_device "vhost-user-blk-pci" "$@"
}

qemu_rng()
{
	add_device "vhost-user-rng-pci" "$@"
}

# Of any device, for a QEMU that prepare_qemu.sh prints; but vubox tells the driver all it can, and
# nothing can be switched off.
qemu_any()
{
	name=$1 id=$2 queues=$3 config_size=$4
	add_device vhost-user-test-device-pci "$name" "virtio-id=$id" "num_vqs=$queues" \
		"config_size=$config_size"
}

add_device()
{
	device=$1,chardev=$2
	qemu_devices="$qemu_devices -chardev socket,id=$2,path=$tmp/$2.sock$chardev_options"
	shift 2
	for property in "$@" $ring_options; do # (no word, or one)
		device=$device,$property
	done
	qemu_devices="$qemu_devices -device $device"
}

# The option of a chardev by which QEMU connects again; it has another name since 9.2.
reconnects()
{
	case $("$QEMU" --version) in
	*" version "[1-8].* | *" version 9."[01].*) echo reconnect=1 ;;
	*) echo reconnect-ms=1000 ;;
	esac
}

# boot_qemu SIZE BACKEND [WORD...]: a guest with so much memory, of the memory-backend-BACKEND.
boot_qemu()
{
	size=$1 backend=$2
	shift 2
	make_initrd
	# shellcheck disable=SC2086 # devices are words
	run_guest "$QEMU" -accel tcg,thread=multi -M q35,memory-backend=memory \
		-object "memory-backend-$backend,id=memory,size=$size,share=on" -m "$size" \
		-nodefaults -no-user-config -no-reboot -display none -serial stdio \
		-kernel "$cache/vmlinuz" -initrd "$tmp/initrd" \
		-append "console=ttyS0 quiet loglevel=3 panic=-1 rings=$rings" $qemu_devices "$@"
}

# boot_uml SIZE [WORD...]: User Mode Linux, which wants its devices as NAME.sock:TYPE words.
boot_uml()
{
	size=$1
	shift
	make_initrd
	gcc -D_GNU_SOURCE -O2 -shared -fPIC -o "$tmp/xstate.so" tests/guest/xstate.c
	run_guest env LD_PRELOAD="$tmp/xstate.so" linux.uml "mem=$size" "initrd=$tmp/initrd" \
		"uml_dir=$tmp" con=null con0=fd:0,fd:1 \
		quiet loglevel=3 panic=-1 "$@"
}

# Kernels unpack archives one after the other; one that is not packed must come first.
make_initrd()
{
	mkdir -p "$tmp/root"
	cp tests/guest/init "$tmp/root/init"
	cat >"$tmp/root/test.sh"
	(cd "$tmp/root" && find . | cpio -o -H newc -R 0:0 --quiet | gzip -1) >"$tmp/own.cpio.gz"
	case $parts in
	*test.cpio*) cat "$cache/test.cpio" ;;
	esac | cat - "$cache/base.cpio.gz" "$tmp/own.cpio.gz" >"$tmp/initrd"
}

# Runs a guest to its end: passes on its cases, and does what it wants of the host.
run_guest()
{
	rm -f "$tmp/console" "$tmp/keyboard"
	mkfifo "$tmp/console" "$tmp/keyboard"
	exec 3<>"$tmp/keyboard"
	timeout -k 5 "$GUARD_S" "$@" <&3 >"$tmp/console" 2>&1 3>&- &
	guest_pid=$!
	ended=
	while IFS= read -r line; do
		line=${line%"$cr"}
		on_line "$line"
		case $line in
		"GUEST ok "*) ok "${line#GUEST ok }" ;;
		"GUEST not ok "*) not_ok "${line#GUEST not ok }" ;;
		"GUEST wants "*)
			"on_${line#GUEST wants }"
			echo "done" >&3
			;;
		"GUEST ends") ended=yes ;;
		esac
	done <"$tmp/console"
	exec 3>&-
	status=0
	wait $guest_pid || status=$?
	guest_pid=
	[ -n "$ended" ] || not_ok "the guest did not come to its end (status $status)"
}

# A suite may define another one.
on_line()
{
	show_line "$1"
}

show_line()
{
	echo "guest| $1" >&2
}

# Whether the image's file system has the file that `seq 200000` made.
finds_numbers()
{
	debugfs -R 'cat /numbers' "$1" 2>/dev/null >"$tmp/numbers"
	same "the sum" "$(md5sum <"$tmp/numbers")" "$(seq 200000 | md5sum)"
}

parts=${parts:-vmlinuz base.cpio.gz test.cpio}
# shellcheck disable=SC2086 # parts are words
cache=$(sh tests/guest/prepare.sh $parts) || give_up "there is nothing to boot"
