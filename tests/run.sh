#!/bin/sh
# Runs test suites, one on each core, and counts their cases.
#
#     tests/run.sh [SUITE...]        default: what is built in build/tests/, then the scripts
#
# A suite prints `ok NAME`, `not ok NAME: why` or `skip NAME: why` for each case. One that ends
# badly without a `not ok`, hangs, or prints no case at all counts as a failure too. A script that
# needs more time than HANG_S seconds (300) says so: `# hang guard: 900 s`. V=1 shows everything as
# it comes, from one at a time, as JOBS=1 does. The last line is `N passed, N failed, N skipped`;
# where CI=true, a skip fails the run.
set -u
cd "$(dirname "$0")/.." || exit 2

logs=${LOGS:-build/log}
mkdir -p "$logs"
skips=$logs/skips
counts=$logs/counts # a line a suite: passed, failed, skipped
group=

# Ends a suite with everything it started: they share its process group.
end_group()
{
	[ -n "$group" ] && kill -s "$1" -- "-$group" 2>/dev/null
}
trap 'end_group TERM; sleep 0.2; end_group KILL; exit 130' HUP INT TERM

hang_guard_s()
{
	guard=
	case $1 in
	*.sh | *.py) guard=$(sed -n 's/^# hang guard: \([0-9][0-9]*\) s.*/\1/p' "$1" | head -n 1) ;;
	esac
	echo "${guard:-${HANG_S:-300}}"
}

count()
{
	grep -c "^$1 " "$log" || :
}

# The case that stands for what a suite did wrong beside its own lines.
fail_suite()
{
	echo "not ok $suite: $1 (replay: $suite)" >>"$log"
}

run_suite()
{
	suite=$1
	log=$logs/$(echo "$suite" | tr / _)
	guard_s=$(hang_guard_s "$suite")
	start_ms=$(date +%s%3N)
	if [ "${V:-0}" = 1 ]; then
		echo "== $suite"
	fi
	# timeout(1) leads a process group of its own, and kills all of it.
	timeout --kill-after=5 "$guard_s" "./$suite" </dev/null >"$log" 2>"$log.err" &
	group=$!
	if [ "${V:-0}" = 1 ]; then
		tail -q -n +1 -f --pid="$group" "$log" "$log.err" &
	fi
	wait "$group"
	status=$?
	end_ms=$(date +%s%3N)
	if end_group KILL; then
		echo "(ended processes that $suite left behind)" >>"$log.err"
	fi
	group=
	wait

	if [ "$status" = 124 ] || [ "$status" = 137 ]; then
		fail_suite "did not end within $guard_s s, or was killed"
	elif [ "$status" != 0 ] && [ "$(count 'not ok')" = 0 ]; then
		fail_suite "ended with status $status"
	elif [ "$status" = 0 ] && [ "$(count 'not ok')" != 0 ]; then
		fail_suite "ended with status 0 in spite of a failed case"
	elif ! grep -Eq '^(ok|not ok|skip) ' "$log"; then
		fail_suite "has no case"
	fi
	# In one piece, as another suite may end at the same time.
	report=$(report_suite $((end_ms - start_ms)))
	printf '%s\n' "$report"
}

report_suite()
{
	ok=$(count ok) not_ok=$(count 'not ok') skip=$(count skip)
	echo "$ok $not_ok $skip" >>"$counts"
	printf '%-32s %4d ok %3d failed %3d skipped %6d.%d s\n' \
		"$suite" "$ok" "$not_ok" "$skip" $(($1 / 1000)) $(($1 % 1000 / 100))
	sed -n "s|^skip |    $suite: |p" "$log" >>"$skips"
	if [ "$not_ok" -gt 0 ]; then
		grep '^not ok ' "$log" | sed 's/^/    /'
		tail -n 20 "$log.err" | sed 's/^/    | /'
		echo "    (more: $log, $log.err)"
	fi
}

if [ "${1:-}" = --one ]; then
	run_suite "${2#./}"
	exit
fi
if [ $# = 0 ]; then
	for suite in build/tests/*/* tests/*.sh tests/*/*.sh tests/*/*.py; do
		case $suite in
		tests/run.sh | tests/install.sh) continue ;;
		esac
		[ -f "$suite" ] && [ -x "$suite" ] && set -- "$@" "$suite"
	done
fi
[ "${V:-0}" = 0 ] || JOBS=1
jobs=${JOBS:-$(nproc)}
: >"$skips"
: >"$counts"
# A suite that knows of JOBS has this core, and some of the others while they are idle.
trap 'trap "" TERM; kill 0; exit 130' HUP INT TERM
printf '%s\n' "$@" | env -u JOBS xargs -n 1 -P "$jobs" sh tests/run.sh --one

read -r suites passed failed skipped <<END
$(awk '{ p += $1; f += $2; s += $3 } END { print NR, p + 0, f + 0, s + 0 }' "$counts")
END
if [ "$suites" != $# ]; then
	echo "not ok: $suites of $# suites came to their end"
	failed=$((failed + 1))
fi
if [ "$skipped" -gt 0 ]; then
	echo "SKIPPED, so not tested here:"
	cat "$skips"
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && { [ "${CI:-}" != true ] || [ "$skipped" = 0 ]; }
