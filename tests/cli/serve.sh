#!/bin/sh
# The program as a process: sockets, images, configuration files, signals, locks.
cd "$(dirname "$0")/../.." || exit 2
. tests/cli/lib.sh

image=$tmp/disk.img
sock=$tmp/sock
truncate -s 1M "$image"

# -- options in all their forms, names

serves "--option=VALUE" "$sock" "$VUBOX" blk --socket-path="$sock" --blk-file="$image"
serves "--option VALUE" "$sock" "$VUBOX" blk --socket-path "$sock" --blk-file "$image"
serves "every option" "$sock" "$VUBOX" blk --socket-path="$sock" --blk-file="$image" --read-only \
	--num-queues=2 --queue-size=128 --serial=12345678901234567890 --logical-block-size=4K \
	--io=sync --poll-us=10 --no-lock -v
serves "short options" "$sock" "$VUBOX" blk -s "$sock" -b "$image" -r -q 2 -v
serves "the last one counts" "$sock" "$VUBOX" blk --socket-path=/none/sock --blk-file=/none \
	--socket-path="$sock" --blk-file="$image"
for engine in auto mmap sync; do
	serves "--io=$engine" "$sock" \
		"$VUBOX" blk --socket-path="$sock" --blk-file="$image" --io=$engine
done
if serve "$sock" "$VUBOX" blk --socket-path="$sock" --blk-file="$image" --io=uring; then
	case_is "--io=uring" ""
else
	case_is "--io=uring, where the kernel has none, says so" \
		"$(grep -q '^vubox: blk: .*engine.*: ' "$tmp/err" || echo "it does not")"
fi
end TERM
for name in vhost-user-blk virtio-blk; do
	ln -s "$VUBOX" "$tmp/$name"
	serves "called $name" "$sock" "$tmp/$name" --socket-path="$sock" --blk-file="$image"
done
ln -s "$VUBOX" "$tmp/vhost-user-rng"
serves "called vhost-user-rng" "$sock" "$tmp/vhost-user-rng" --socket-path="$sock"
cp "$VUBOX" "$tmp/renamed"
serves "called by any other name" "$sock" "$tmp/renamed" rng --socket-path="$sock"

# -- two devices

serves "two devices, the first" "$sock" "$VUBOX" blk --socket-path="$sock" --blk-file="$image" \
	-- rng --socket-path="$tmp/sock2"
case_is "two devices, the second" "$([ ! -e "$tmp/sock2" ] || echo "its socket is left")"
serves "two devices, the second is there" "$tmp/sock2" "$VUBOX" \
	blk --socket-path="$sock" --blk-file="$image" -- rng --socket-path="$tmp/sock2"
fails "one device that fails at the start" "blk: /none/disk: cannot open: " \
	rng --socket-path="$sock" -- blk --socket-path="$tmp/sock2" --blk-file=/none/disk
case_is "a start that fails leaves no socket" "$(ls "$tmp" | grep sock || :)"

# -- sizes

# makes NAME BYTES VALUE: --size=VALUE on a new image makes it so long.
makes()
{
	rm -f "$tmp/new"
	serves "--size=$3 serves" "$sock" \
		"$VUBOX" blk --socket-path="$sock" --blk-file="$tmp/new" --size="$3"
	bytes=$(stat -c %s "$tmp/new" 2>/dev/null || echo none)
	case_is "--size=$3 is $1" "$([ "$bytes" = "$2" ] || echo "it is $bytes")"
}

makes "bytes" 1024 1024
makes "K" 65536 64K
makes "M" 3145728 3M
makes "G" 1073741824 1G
case_is "a new image is sparse" "$(
	blocks=$(stat -c %b "$tmp/new")
	[ "$blocks" -le 64 ] || echo "$blocks blocks"
)"
printf data >"$tmp/new"
serves "--size grows an image" "$sock" \
	"$VUBOX" blk --socket-path="$sock" --blk-file="$tmp/new" --size=64K
case_is "--size keeps what is there" "$(
	[ "$(head -c 4 "$tmp/new")" = data ] && [ "$(stat -c %s "$tmp/new")" = 65536 ] || echo lost
)"
serves "--size of a longer image" "$sock" \
	"$VUBOX" blk --socket-path="$sock" --blk-file="$tmp/new" --size=32K
case_is "--size never makes it smaller" "$(
	[ "$(stat -c %s "$tmp/new")" = 65536 ] || stat -c %s "$tmp/new"
)"

truncate -s 1000 "$tmp/new"
serves "an odd image" "$sock" "$VUBOX" blk --socket-path="$sock" --blk-file="$tmp/new"
case_is "an odd image: the tail is not served, it says" "$(
	grep -Eq '^vubox: blk: .*/new: .*488 bytes' "$tmp/err" || echo "it does not"
)"

# -- what -v says

serves "-v" "$sock" "$VUBOX" blk --socket-path="$sock" --blk-file="$image" -v
case_is "-v: the engine, and why" "$(
	grep -Eq '^vubox: blk: .*I/O by (uring|mmap|sync): [a-z]' "$tmp/err" || cat "$tmp/err"
)"
if [ "$(stat -f -c %T /dev/shm 2>/dev/null)" = tmpfs ]; then
	shm=$(mktemp /dev/shm/vubox.XXXXXX)
	truncate -s 1M "$shm"
	serves "an image in memory" "$sock" \
		"$VUBOX" blk --socket-path="$sock" --blk-file="$shm" -v
	rm -f "$shm"
	case_is "an image in memory is mapped" "$(
		grep -Eq 'I/O by mmap: tmpfs' "$tmp/err" || cat "$tmp/err"
	)"
else
	echo "skip cli an image in memory: /dev/shm is no tmpfs"
fi

# -- descriptors 0, 1 and 2 may be closed: an image that gets their number hears no messages

truncate -s 64K "$tmp/image1" "$tmp/image2" "$tmp/image3"
cat >"$tmp/silent" <<END
#!/bin/sh
exec <&- >&- 2>&-
exec "$VUBOX" blk --socket-path="$tmp/sock1" --blk-file="$tmp/image1" --io=sync -v -- \
	blk --socket-path="$tmp/sock2" --blk-file="$tmp/image2" --io=sync -v -- \
	blk --socket-path="$sock" --blk-file="$tmp/image3" --io=sync -v
END
chmod +x "$tmp/silent"
serves "without stdin, stdout and stderr" "$sock" "$tmp/silent"
for i in 1 2 3; do
	case_is "without stderr, image $i is not written" \
		"$(cmp -n 65536 "$tmp/image$i" /dev/zero 2>&1)"
done

# -- what cannot be done: one line that names what, the step, and the reason

blk="blk --socket-path=$sock"
fails "no image file" "blk: /none/disk: cannot open: No such file or directory\$" \
	$blk --blk-file=/none/disk
fails "a directory as image" "blk: $tmp: .+" $blk --blk-file="$tmp"
fails "a device that is no disk" "blk: /dev/null: .+" $blk --blk-file=/dev/null
fails "no directory for the socket" "rng: /none/sock: .*: No such file or directory\$" \
	rng --socket-path=/none/sock
fails "an empty socket path" "rng: .+" rng --socket-path=
fails "a socket path too long" "rng: .+: [A-Z].*too long\$" \
	rng --socket-path="$tmp/$(printf '%0200d' 0)"
fails "no source" "rng: /none/hwrng: cannot open: No such file or directory\$" \
	rng --socket-path="$sock" --source=/none/hwrng
fails "a closed descriptor" "rng: .*9.*: Bad file descriptor\$" rng --fd=9
fails "a descriptor that is no socket" "rng: .*0.*: " rng --fd=0
fails "the same socket twice" ".*$sock: .*" rng --socket-path="$sock" -- rng --socket-path="$sock"

# -- the socket file

echo keep >"$sock"
fails "a file where the socket should be" "rng: $sock: .+" rng --socket-path="$sock"
case_is "that file is kept" "$([ "$(cat "$sock")" = keep ] || echo "it is not")"
rm -f "$sock"

serve "$sock" "$VUBOX" rng --socket-path="$sock" || :
first=$pid
fails "a socket that somebody serves" "rng: $sock: .*: Address (already )?in use\$" \
	rng --socket-path="$sock"
case_is "that server goes on" "$([ -S "$sock" ] && ! gone "$first" || echo "it does not")"
end KILL
case_is "a dead socket is left by KILL" "$([ -S "$sock" ] || echo "it is not")"
serves "a dead socket is replaced" "$sock" "$VUBOX" rng --socket-path="$sock"

# -- signals

for signal in TERM INT; do
	serve "$sock" "$VUBOX" blk --socket-path="$sock" --blk-file="$image" || :
	end $signal
	case_is "$signal: status 0, no socket, no word" "$(
		[ "$status" = 0 ] || echo "status $status"
		[ ! -e "$sock" ] || echo "socket left"
		cat "$tmp/err"
	)"
done
serve "$sock" "$VUBOX" blk --socket-path="$sock" --blk-file="$image" || :
kill -s HUP "$pid"
sleep 0.1
case_is "HUP: goes on" "$(! gone "$pid" || echo "it has ended")"
end TERM
case_is "TERM after HUP: status 0" "$([ "$status" = 0 ] || echo "status $status")"

# -- locks

serve "$sock" "$VUBOX" blk --socket-path="$sock" --blk-file="$image" || :
first=$pid
fails "an image in use" "blk: $image: .*lock.*" blk --socket-path="$tmp/sock2" --blk-file="$image"
serves "an image in use, with --no-lock" "$tmp/sock2" \
	"$VUBOX" blk --socket-path="$tmp/sock2" --blk-file="$image" --no-lock
pid=$first
end KILL
serves "an image whose user was killed" "$sock" \
	"$VUBOX" blk --socket-path="$sock" --blk-file="$image"
fails "an image twice in one process" "blk2: $image: .*lock.*" \
	blk --socket-path="$sock" --blk-file="$image" -- \
	blk --socket-path="$tmp/sock2" --blk-file="$image"
serve "$sock" "$VUBOX" blk --socket-path="$sock" --blk-file="$image" --read-only || :
first=$pid
serves "an image that both only read" "$tmp/sock2" \
	"$VUBOX" blk --socket-path="$tmp/sock2" --blk-file="$image" --read-only
pid=$first
end TERM

# -- configuration files

mkdir "$tmp/with space"
truncate -s 64K "$tmp/with space/it's # 1.img"
cat >"$tmp/conf" <<END
# two devices

  blk --socket-path=$sock --blk-file="$tmp/with space/it's # 1.img"  # the disk
	rng --socket-path '$tmp/sock2'
END
serves "--config" "$sock" "$VUBOX" --config="$tmp/conf"
serves "--config FILE, second device" "$tmp/sock2" "$VUBOX" --config "$tmp/conf"
printf 'rng --socket-path=%s' "$sock" >"$tmp/conf"
serves "--config, last line without an end" "$sock" "$VUBOX" --config="$tmp/conf"

# config NAME PATTERN TEXT: the file is wrong, and the line says where.
config()
{
	printf '%b' "$3" >"$tmp/conf"
	wrong "config: $1" "(.*: )?$tmp/conf$2" --config="$tmp/conf"
}
config "unknown device" ":2: .*nodev" "# one\nnodev --x\n"
config "unknown option" ":3: .*--nonsense" "\n\nrng --nonsense\n"
config "quote not closed" ":1: .*quote" "rng --socket-path=\"$sock\n\n"
config "no socket" ":1: .*--socket-path" "rng\n"
config "-- in a line" ":1: .*" "rng --socket-path=$sock -- rng --socket-path=$tmp/sock2\n"
config "the second line" ":2: .*nodev" "rng --socket-path=$sock\nnodev\n"
config "no device at all" ".*no device" "# nothing\n"
fails "config: no such file" "/none/conf: cannot read: No such file or directory\$" \
	--config=/none/conf
for i in 1 2 3 4 5 6; do
	echo "rng --socket-path=$tmp/sock$i"
done >"$tmp/conf"
cp "$tmp/conf" "$tmp/conf6"
echo "blk --socket-path=$tmp/sock7 --blk-file=/none/disk --name=last" >>"$tmp/conf"
fails "config: the seventh of seven" "$tmp/conf:7: last: /none/disk: cannot open: " \
	--config="$tmp/conf"
case_is "config: no socket of the six is made" "$(ls "$tmp" | grep sock || :)"
cat "$tmp/conf6" - >"$tmp/conf" <<END
rng --socket-path=$tmp/sock7 --name="rng3"
END
wrong "config: the name of another" "$tmp/conf:7: --name=rng3: another" --config="$tmp/conf"
echo "rng --socket-path=$tmp/none/sock" >>"$tmp/conf6"
fails "config: a socket that cannot be made" "$tmp/conf6:7: rng7: $tmp/none/sock: " \
	--config="$tmp/conf6"
case_is "config: no socket is left" "$(ls "$tmp" | grep sock || :)"
head -c 20000 /dev/zero | tr '\0' '#' >"$tmp/conf"
fails "config: too long" "$tmp/conf: .+" --config="$tmp/conf"
wrong "config and an option of a device" "--config: --socket-path " \
	--config="$tmp/conf" --socket-path="$sock"
wrong "config and more" ".*--config.*" --config="$tmp/conf" rng --socket-path="$sock"

# -- readiness and counters

conf6=$tmp/six.conf
for i in 1 2 3 4 5 6; do
	echo "rng --socket-path=$tmp/ready$i --name='n\"$i'"
done >"$conf6"
mkfifo "$tmp/ready"
"$VUBOX" --config="$conf6" --ready-fd=7 --stats="$tmp/stats" \
	7>"$tmp/ready" 2>"$tmp/err" </dev/null &
pid=$! pids="$pids $!"
line=$(cat "$tmp/ready" | od -An -c | tr -d ' ')
case_is "--ready-fd is one line, and then its end" "$([ "$line" = '\n' ] || echo "'$line'")"
case_is "all sockets are there when it is ready" "$(
	for i in 1 2 3 4 5 6; do
		[ -S "$tmp/ready$i" ] || echo "not $i"
	done
	[ -S "$tmp/stats" ] || echo "not that of --stats"
)"
fetch()
{
	python3 -c 'import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
sys.stdout.write(s.makefile().read())' "$tmp/stats"
}
case_is "--stats is JSON" "$(fetch | python3 -c 'import json, sys
d = json.load(sys.stdin)["devices"]
if [x["name"] for x in d] != ["n\"%d" % i for i in range(1, 7)]:
    print(d)' 2>&1)"
kill -s USR1 "$pid"
wait_for grep -q 'ready6' "$tmp/err" || :
case_is "USR1: a line for each device, that awk can read" "$(
	n=$(awk '/^vubox: n"[1-6]: state=listening features=0x0 socket=/' "$tmp/err" | wc -l)
	[ "$n" = 6 ] || cat "$tmp/err"
)"
end TERM
case_is "TERM removes the socket of --stats" "$([ ! -e "$tmp/stats" ] || echo "it is there")"
: >"$tmp/ready.none"
"$VUBOX" rng --socket-path=/none/sock --ready-fd=7 7>"$tmp/ready.none" 2>"$tmp/err" \
	</dev/null || :
case_is "--ready-fd: nothing if it does not serve" "$(cat "$tmp/ready.none")"
fails "--ready-fd: not open" "rng: --ready-fd=9: .*Bad file descriptor\$" \
	rng --socket-path="$sock" --ready-fd=9
fails "--stats: no directory" "--stats=/none/stats: cannot serve: No such file" \
	rng --socket-path="$sock" --stats=/none/stats
fails "--stats: one of the sockets" "--stats=$sock: cannot serve: Address " \
	rng --socket-path="$sock" --stats="$sock"
case_is "a start that fails at the end leaves no socket" "$(ls "$tmp" | grep '^sock' || :)"

exit $failed
