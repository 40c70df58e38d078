#!/bin/sh
# The command line: wrong use is one line and status 2, right use without serving prints and ends.
cd "$(dirname "$0")/../.." || exit 2
. tests/cli/lib.sh

image=$tmp/disk.img
sock=$tmp/sock
truncate -s 1M "$image"

blk()
{
	name=$1 pattern=$2
	shift 2
	wrong "blk: $name" "$pattern" blk --socket-path="$sock" --blk-file="$image" "$@"
}

wrong "no device" ".*--help"
wrong "unknown device" ".*nodev" nodev --socket-path="$sock"
wrong "unknown option of the program" ".*--nonsense" --nonsense
wrong "unknown option before the device" ".*--socket-path" --socket-path="$sock" rng
wrong "no socket" "rng: .*--socket-path" rng
wrong "no image" "blk: .*--blk-file" blk --socket-path="$sock"
wrong "socket and descriptor" "rng: .*--fd" rng --socket-path="$sock" --fd=0
wrong "client without a path" "rng: .*--client" rng --fd=0 --client
wrong "option of another device" "rng: .*--blk-file" rng --socket-path="$sock" --blk-file="$image"
wrong "nothing after --" ".*--" rng --socket-path="$sock" --
wrong "nothing before --" ".*--" -- rng --socket-path="$sock"
wrong "wrong second device" "rng: .*--nonsense" \
	blk --socket-path="$sock" --blk-file="$image" -- rng --nonsense
wrong "config without a value" ".*--config" --config

blk "unknown option" "blk: .*--nonsense" --nonsense
blk "unknown short option" "blk: .*-Z" -Z
blk "one dash" "blk: .*-read-only" -read-only
blk "part of an option" "blk: .*--read" --read
blk "stray word" "blk: .*stray" stray
blk "value missing" "blk: .*--serial" --serial
blk "flag with a value" "blk: .*--read-only" --read-only=yes
blk "serial too long" "blk: .*--serial" --serial=123456789012345678901
blk "a size for what is only read" "blk: .*--read-only" --read-only --size=1M
blk "a mapped file without the page cache" "blk: .*--direct" --direct --io=mmap
blk "unknown engine" "blk: .*--io" --io=aio
for value in 0 -1 +1 x 1x '' ' 1' 0x10 65537 18446744073709551617; do
	blk "num-queues '$value'" "blk: .*--num-queues" --num-queues="$value"
done
for value in 0 3 1000 65536 1.5; do
	blk "queue-size '$value'" "blk: .*--queue-size" --queue-size="$value"
done
for value in 0 1 513 511 3K 4G; do
	blk "logical-block-size '$value'" "blk: .*--logical-block-size" \
		--logical-block-size="$value"
done
for value in x K 1KB 1Z -1 '1 K' 16777216T 99999999999G; do
	blk "size '$value'" "blk: .*--size" --size="$value"
done
blk "poll-us 'soon'" "blk: .*--poll-us" --poll-us=soon
for value in 0 2 -1 x 2147483648; do
	wrong "ready-fd '$value'" "rng: .*--ready-fd" rng --socket-path="$sock" --ready-fd="$value"
done
wrong "an empty name" "rng: .*--name" rng --socket-path="$sock" --name=
wrong "a name twice" "rng: --name=a: another" rng --socket-path="$sock" --name=a -- \
	rng --socket-path="$sock.2" --name=a
wrong "fd 'x'" "rng: .*--fd" rng --fd=x
wrong "fd -1" "rng: .*--fd" rng --fd=-1

# prints NAME WORD...: status 0 and something on stdout only.
prints()
{
	name=$1
	shift
	run "$VUBOX" "$@"
	if [ "$status" != 0 ]; then
		case_is "$name" "status $status"
	elif [ ! -s "$tmp/out" ] || [ -s "$tmp/err" ]; then
		case_is "$name" "nothing on stdout, or something on stderr"
	else
		case_is "$name" ""
	fi
}

# out NAME PATTERN: the last output has a line like that.
out()
{
	case_is "$1" "$(grep -Eq -e "$2" "$tmp/out" || echo "no line like \"$2\"")"
}

prints "--version" --version
out "--version names itself" '^vubox [0-9]'
prints "--list" --list
case_is "--list names the devices" "$(
	there=$(sed -n 's/^const struct device_class \(.*\)_class = .*/\1/p' src/dev/*.c | sort)
	[ "$(awk '{ print $1 }' "$tmp/out" | sort)" = "$there" ] || cat "$tmp/out"
)"
prints "--help" --help
for word in 'vubox DEVICE' --config --list --version --help '-- DEVICE' blk rng vsock; do
	out "--help has $word" "$word"
done
for device in blk rng vsock; do
	prints "$device --help" $device --help
	for option in socket-path= fd= client name= poll-us= sandbox= user= chroot= \
		stats= ready-fd= print-capabilities help; do
		out "$device --help has $option" "^ .*--$option"
	done
	case_is "$device --help has 100 columns at most" \
		"$(expand "$tmp/out" | awk 'length > 100')"
done
prints "blk --help among other options" blk --nonsense --help
run "$VUBOX" blk --help
for option in blk-file= read-only num-queues= queue-size= serial= logical-block-size= direct \
	io= size= no-lock; do
	out "blk --help has $option" "^ .*--$option"
done
for option in num-queues queue-size logical-block-size io poll-us; do
	out "blk --help has the default of $option" "--$option.*default"
done
run "$VUBOX" rng --help
out "rng --help has source=" "^ .*--source="

# capabilities NAME JSON WORD...: exactly this JSON on stdout, status 0, whatever else is said.
capabilities()
{
	name=$1 json=$2
	shift 2
	run "$@"
	case_is "$name" "$(
		[ "$status" = 0 ] || echo "status $status"
		[ ! -s "$tmp/err" ] || echo "something on stderr"
		[ "$(jq -cS . "$tmp/out")" = "$json" ] || echo "not $json"
	)"
}

if command -v jq >/dev/null; then
	blk_json='{"features":["blk-file","read-only"],"type":"block"}'
	jq() { command jq "$@" | sed 's/"read-only","blk-file"/"blk-file","read-only"/'; }
	ln -s "$VUBOX" "$tmp/vhost-user-blk"
	ln -s "$VUBOX" "$tmp/virtio-blk"
	ln -s "$VUBOX" "$tmp/vhost-user-rng"
	capabilities "capabilities of blk" "$blk_json" "$VUBOX" blk --print-capabilities
	capabilities "capabilities of rng" '{"type":"rng"}' "$VUBOX" rng --print-capabilities
	capabilities "capabilities, other options ignored" "$blk_json" \
		"$VUBOX" blk --blk-file=/none --num-queues=x --nonsense --print-capabilities stray
	capabilities "capabilities of vhost-user-blk" "$blk_json" \
		"$tmp/vhost-user-blk" --print-capabilities
	capabilities "capabilities of virtio-blk" "$blk_json" \
		"$tmp/virtio-blk" --print-capabilities
	capabilities "capabilities of vhost-user-rng" '{"type":"rng"}' \
		"$tmp/vhost-user-rng" --print-capabilities
else
	echo "skip cli capabilities: no jq"
fi

ln -s "$VUBOX" "$tmp/vhost-user-nodev"
run "$tmp/vhost-user-nodev" --socket-path="$sock"
case_is "a link to no device" "$(why_not_refused 2 ".*nodev")"

case_is "nothing was left behind" "$([ ! -e "$sock" ] || echo "a socket")"
exit $failed
