#!/bin/sh
# The process and its cage: --sandbox, --user, --chroot, and what a user sees of them.
cd "$(dirname "$0")/../.." || exit 2
. tests/cli/lib.sh

image=$tmp/disk.img
sock=$tmp/sock
truncate -s 1M "$image"

# status FIELD: of the process that is served last.
status_of()
{
	sed -n "s/^$1:[[:space:]]*//p" "/proc/$pid/status" | tr '\t' ' ' | sed 's/ *$//'
}

seccomp_is()
{
	[ "$(status_of Seccomp)" = "$1" ]
}

# is NAME FIELD VALUE
is()
{
	value=$(status_of "$2")
	case_is "$1" "$([ "$value" = "$3" ] || echo "$2 is '$value', not '$3'")"
}

# caged NAME LEVEL SECCOMP NO_NEW_PRIVS WORD...: what the kernel says of it; ends well.
caged()
{
	name=$1 seccomp=$2 no_new=$3
	shift 3
	if ! serve "$sock" "$VUBOX" "$@"; then
		end KILL
		case_is "$name" "it does not serve: $(head -n 1 "$tmp/err")"
		return
	fi
	# The socket is there before the cage is closed.
	wait_for seccomp_is "$seccomp" || :
	is "$name: seccomp" Seccomp "$seccomp"
	is "$name: no_new_privs" NoNewPrivs "$no_new"
	end TERM
	case_is "$name: it ends well" "$([ "$status" = 0 ] && [ ! -e "$sock" ] ||
		echo "status $status, $(ls "$sock" 2>&1)")"
}

blk="blk --socket-path=$sock --blk-file=$image"

# -- --sandbox

caged "by default" 2 1 $blk
caged "--sandbox=full" 2 1 $blk --sandbox=full
caged "--sandbox=seccomp" 2 1 $blk --sandbox=seccomp
caged "--sandbox=off" 0 0 $blk --sandbox=off
printf '# one\nrng --socket-path=%s --sandbox=off\n' "$sock" >"$tmp/conf"
caged "in a file" 0 0 --config="$tmp/conf"
printf 'rng --socket-path=%s --sandbox=off\nrng --socket-path=%s2\n' "$sock" "$sock" >"$tmp/conf"
caged "with one of two devices" 0 0 --config="$tmp/conf"
caged "the last one counts" 2 1 $blk --sandbox=off -- \
	rng --socket-path="$tmp/sock2" --sandbox=seccomp
wrong "--sandbox=maybe" "blk: --sandbox=maybe: not one of off\|seccomp\|full" $blk --sandbox=maybe
wrong "--sandbox without a value" "blk: --sandbox needs a value" $blk --sandbox

serve "$sock" "$VUBOX" $blk -v || :
case_is "-v: nothing is missing" "$(grep 'sandbox: no' "$tmp/err")"
if [ "$(id -u)" = 0 ]; then
	wait_for seccomp_is 2 || :
	is "root keeps one capability" CapEff 0000000000000002
	is "and can have no other" CapPrm 0000000000000002
fi
end TERM

# -- --user and --chroot: as root

fails "--user that is not there" "--user=no-such-user: cannot find user or group: No such file" \
	$blk --user=no-such-user
fails "--user with a group that is not there" "--user=root:no-such-group: cannot find user or" \
	$blk --user=root:no-such-group
for user in '' : :0 0: 4294967295 99999999999 1x 0:0:0 -1 0:4294967295; do
	fails "--user='$user'" "--user=$user: cannot find user or group: No such file or dir" \
		$blk --user="$user"
done
fails "--chroot that is not there" "--chroot=/none: cannot enter it: No such file or directory" \
	$blk --chroot=/none
fails "--chroot that is no directory" "--chroot=$image: cannot enter it: Not a directory" \
	$blk --chroot="$image"
case_is "a start that fails leaves no socket" "$(ls "$tmp" | grep sock || :)"

if [ "$(id -u)" != 0 ]; then
	fails "--user without being root" "--user=0: cannot become it: Operation not permitted" \
		$blk --user=0
	echo "skip cli sandbox: --user and --chroot: not root here"
	exit $failed
fi

chmod 711 "$tmp"
mkdir "$tmp/run"
chown 1234:5678 "$tmp/run"
chmod 600 "$image"
run="$tmp/run/sock"

# becomes NAME USER UID GID
becomes()
{
	if ! serve "$run" "$VUBOX" blk --socket-path="$run" --blk-file="$image" --user="$2"; then
		case_is "$1" "it does not serve: $(cat "$tmp/err")"
		return
	fi
	is "$1: the user" Uid "$3 $3 $3 $3"
	is "$1: the group" Gid "$4 $4 $4 $4"
	is "$1: no other group" Groups ""
	wait_for seccomp_is 2 || :
	is "$1: no capability" CapPrm 0000000000000000
	case_is "$1: the socket is that user's" "$(
		[ "$(stat -c %u:%g "$run")" = "$3:$4" ] || stat -c %u:%g "$run")"
	end TERM
	case_is "$1: it ends well" "$([ "$status" = 0 ] && [ ! -e "$run" ] ||
		echo "status $status, $(ls "$run" 2>&1)")"
}

daemon=$(id -u daemon) nogroup=$(sed -n 's/^nogroup:[^:]*:\([0-9]*\):.*/\1/p' /etc/group)
becomes "--user=UID" 1234 1234 1234
becomes "--user=UID:GID" 1234:77 1234 77
becomes "--user=UID:GROUP" 1234:nogroup 1234 "$nogroup"
chmod 777 "$tmp/run"
becomes "--user=NAME" daemon "$daemon" "$(id -g daemon)"
becomes "--user=NAME:GID" daemon:99 "$daemon" 99
becomes "--user=NAME:GROUP" daemon:nogroup "$daemon" "$nogroup"
chmod 755 "$tmp/run"
fails "--user who cannot make the socket" "blk: $run: cannot serve: Permission denied" \
	blk --socket-path="$run" --blk-file="$image" --user=daemon

serve "$run" "$VUBOX" blk --socket-path=/sock --blk-file="$image" --chroot="$tmp/run" \
	--user=1234 || :
case_is "--chroot: its root is there" "$(
	[ "$(readlink "/proc/$pid/root")" = "$tmp/run" ] || readlink "/proc/$pid/root")"
case_is "--chroot: it works there" "$(
	[ "$(readlink "/proc/$pid/cwd")" = "$tmp/run" ] || readlink "/proc/$pid/cwd")"
end TERM
case_is "--chroot: it ends well, and the socket is removed" "$(
	[ "$status" = 0 ] && [ ! -e "$run" ] || echo "status $status, $(ls "$run" 2>&1)")"

# -- as somebody else from the beginning

cat >"$tmp/as-nobody" <<END
#!/bin/sh
exec setpriv --reuid=1234 --regid=1234 --clear-groups "\$0.vubox" "\$@"
END
chmod 755 "$tmp/as-nobody"
cp "$VUBOX" "$tmp/as-nobody.vubox"
chown 1234 "$image"
if command -v setpriv >/dev/null; then
	serves "not as root" "$run" "$tmp/as-nobody" blk --socket-path="$run" --blk-file="$image"
	VUBOX=$tmp/as-nobody
	fails "--user without being root" "--user=0: cannot become it: Operation not permitted" \
		blk --socket-path="$run" --blk-file="$image" --user=0
	fails "--chroot without being root" "--chroot=/: cannot enter it: Operation not permitted" \
		blk --socket-path="$run" --blk-file="$image" --chroot=/
	chown 0 "$image"
	fails "a file that it may not open" "blk: $image: cannot open: Permission denied" \
		blk --socket-path="$run" --blk-file="$image"
else
	echo "skip cli sandbox: not as root: no setpriv"
fi
exit $failed
