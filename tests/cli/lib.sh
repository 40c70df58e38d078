# What the suites of the command line share. Sourced; the suite has cd'ed to the root.
# shellcheck shell=sh
set -eu

VUBOX=$(readlink -f "${VUBOX:-./vubox}")
suite=$0
tmp=$(mktemp -d)
failed=0
pids=
trap 'end_all; rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
GUARD_S=20

end_all()
{
	for pid in $pids; do
		kill -s KILL "$pid" 2>/dev/null || :
	done
}

# case_is NAME WHY: ok if WHY is empty.
case_is()
{
	if [ -z "$2" ]; then
		echo "ok cli $1"
		return
	fi
	failed=1
	{
		echo "--- $1: stdout, then stderr"
		head -n 20 "$tmp/out" "$tmp/err"
	} >&2 2>/dev/null || :
	echo "not ok cli $1: $(echo "$2" | head -n 1) (replay: $suite)"
}

# Runs a command to its end: $status, $tmp/out, $tmp/err.
run()
{
	status=0
	timeout "$GUARD_S" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null || status=$?
}

# Why the last run was not a good failure: $1 status, $2 what its only line matches.
why_not_refused()
{
	if [ "$status" != "$1" ]; then
		echo "status $status instead of $1"
	elif [ -s "$tmp/out" ]; then
		echo "something on stdout"
	elif [ "$(wc -l <"$tmp/err")" != 1 ]; then
		echo "$(wc -l <"$tmp/err") lines on stderr instead of one"
	elif ! grep -Eq "^vubox: $2" "$tmp/err"; then
		echo "stderr is not \"vubox: $2\" but \"$(cat "$tmp/err")\""
	fi
}

# wrong NAME PATTERN WORD...: vubox WORD... is wrong use.
wrong()
{
	name=$1 pattern=$2
	shift 2
	run "$VUBOX" "$@"
	case_is "$name" "$(why_not_refused 2 "$pattern")"
}

# fails NAME PATTERN WORD...: vubox WORD... is right use, but cannot be done.
fails()
{
	name=$1 pattern=$2
	shift 2
	run "$VUBOX" "$@"
	case_is "$name" "$(why_not_refused 1 "$pattern")"
}

# wait_for COMMAND...: until it is true; false if that takes too long.
wait_for()
{
	for _ in $(seq $((GUARD_S * 50))); do
		if "$@"; then
			return 0
		fi
		sleep 0.02
	done
	return 1
}

# serve SOCKET WORD...: starts a command that listens on SOCKET ($pid), false if it does not.
serve()
{
	socket=$1
	shift
	dead_socket=$(stat -c %i "$socket" 2>/dev/null || :)
	"$@" >"$tmp/out" 2>"$tmp/err" </dev/null &
	pid=$!
	pids="$pids $pid"
	wait_for has_begun && ! gone "$pid"
}

# There is a new socket, or nobody who would make it any more.
has_begun()
{
	{ [ -S "$socket" ] && [ "$(stat -c %i "$socket")" != "$dead_socket" ]; } || gone "$pid"
}

# end SIGNAL: ends what was served last: $status.
end()
{
	kill -s "$1" "$pid" 2>/dev/null || :
	status=0
	wait_for gone "$pid" || kill -s KILL "$pid"
	wait "$pid" || status=$?
}

# Not running; who waits for it has not been told yet.
gone()
{
	case $(sed -n 's/^State:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null) in
	'' | Z* | X*) return 0 ;;
	esac
	return 1
}

# serves NAME SOCKET WORD...: it listens, and ends well with TERM.
serves()
{
	name=$1
	shift
	if ! serve "$@"; then
		end KILL
		case_is "$name" "does not listen: $(head -n 1 "$tmp/err")"
		return
	fi
	end TERM
	if [ "$status" != 0 ]; then
		case_is "$name" "status $status after TERM"
	elif [ -e "$socket" ]; then
		case_is "$name" "the socket is left after TERM"
	else
		case_is "$name" ""
	fi
}
