#!/bin/sh
# Static analysis: gcc -fanalyzer, clang-tidy (.clang-tidy) and cppcheck, over the sources and, at a
# lesser level, over the tests. tests/lint/ANALYSER_*.c are planted faults: each names what must be
# found in it, and must be clean with -DCONTROL.
#
# hang guard: 900 s
#
#     tests/lint/run.sh [CASE...]        a case is what the `ok` lines say, as in: "gcc tests"
set -u
cd "$(dirname "$0")/../.." || exit 2

made=build/tests/lint # calls.h is there, which port/cage.c includes
INCLUDE="-Iinclude -Iport -Itests/unit -Itests/sim -Itests/fuzz -I$made"
FLAGS="-std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DCONFIG_FAST=inline $INCLUDE"
GCC_WARN="-Wall -Wextra -Wconversion -Wno-sign-conversion -Wduplicated-cond -Wduplicated-branches
	-Wlogical-op -Wnull-dereference -Wformat=2 -Wcast-align=strict -Wundef -Wunused-macros
	-Wjump-misses-init -Wshadow -Wvla"
# Enough to follow every function of src/ and port/ to its end, which the defaults are not.
GCC_DEPTH="--param analyzer-bb-explosion-factor=400
	--param analyzer-max-enodes-per-program-point=32 -Wanalyzer-too-complex"
# All configurations of the #ifdefs are looked at, with the system calls that a kernel may lack as
# well; 2.10 has to be told that such a name is a number.
CPPCHECK="--std=c11 --force --inconclusive --inline-suppr --library=posix --quiet
	--library=tests/lint/cppcheck.cfg
	--suppressions-list=tests/lint/cppcheck.txt -D__linux__ -DSYS_epoll_pwait2=441
	-DSYS_statx=332 -DSYS_faccessat2=439 -USYS_setresuid32 $INCLUDE"

# ---- one file: what this analyser says of it. Run by `each` below, in a process of its own. ----

# At both levels of optimization: what is inlined is seen in another light.
one_gcc()
{
	gcc="gcc $FLAGS $CONTROL -fanalyzer -fdiagnostics-plain-output -c $1 -o /dev/null"
	if [ "$level" = tests ]; then
		$gcc -O2
	else
		$gcc $GCC_WARN $GCC_DEPTH -O0 && $gcc $GCC_WARN $GCC_DEPTH -O2
	fi
}

one_clang_tidy()
{
	# What tests/ needs less, clang-tidy finds by itself.
	[ "$level" = tests ] || config=--config-file=.clang-tidy
	clang-tidy --quiet ${config:-} "$1" -- $FLAGS $CONTROL
}

if [ "${1:-}" = --one ]; then
	level=$3 CONTROL=${CONTROL:-}
	"one_$2" "$4" 2>&1 || echo "$4: error: status $?"
	exit 0
fi

# ---- the analysers: each reads names of files on stdin and says what it finds ----

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

# each ANALYSER LEVEL: on all cores; what is said comes out file by file.
each()
{
	mkdir "$tmp/said"
	SAID=$tmp/said xargs -P "$(nproc)" -I{} sh -c '
		sh tests/lint/run.sh --one "$1" "$2" "$3" >"$SAID/$(echo "$3" | tr / _)"
	' sh "$1" "$2" {} || echo "xargs: error: status $?: not every file was looked at"
	cat "$tmp"/said/*
	rm -r "$tmp/said"
}

# What is not followed to its end is a finding, too, but for a loop of log.c whose rounds are alike.
analyse_gcc()
{
	each gcc "$1" | grep -E '(warning|error): ' |
		grep -v 'terminating analysis for this program point' |
		sort -u
}

# One process for each file: with several, clang-tidy 14 takes every va_list for uninitialized.
analyse_clang_tidy()
{
	each clang_tidy "$1" | grep -E '(warning|error): ' | sort -u
}

# All files at once, because it looks for functions that nobody calls, too.
analyse_cppcheck()
{
	if [ "$1" = tests ]; then
		enable=warning,performance,portability
	else
		enable=all
	fi
	# shellcheck disable=SC2086 # flags are words
	cppcheck $CPPCHECK $CONTROL $MORE --enable=$enable \
		--template='{file}:{line}: {message} [{id}]' --file-list=- 2>&1 ||
		echo "cppcheck: status $?"
}

# ---- the cases ----

failed=0 wanted="$*"

is_wanted()
{
	[ -z "$wanted" ] || case " $wanted " in *" $1 "*) ;; *) false ;; esac
}

has()
{
	command -v "$1" >/dev/null
}

# check ANALYSER LEVEL: the files on stdin are clean.
check()
{
	name="$1 $2"
	is_wanted "$name" || return 0
	cat >"$tmp/files"
	if ! has "$1"; then
		echo "skip lint $name: $1 is not installed"
		return
	fi
	"analyse_$(echo "$1" | tr - _)" "$2" <"$tmp/files" >"$tmp/found"
	if [ ! -s "$tmp/files" ]; then
		echo "not ok lint $name: no files (replay: tests/lint/run.sh '$name')"
	elif [ -s "$tmp/found" ]; then
		head -n 40 "$tmp/found" >&2
		echo "not ok lint $name: $(head -n 1 "$tmp/found")" \
			"($(wc -l <"$tmp/found") in all) (replay: tests/lint/run.sh '$name')"
	else
		echo "ok lint $name ($(wc -l <"$tmp/files") files)"
		return 0
	fi
	return 1
}

# plant ANALYSER LEVEL FILE: the fault is found, and nothing else is wrong with the file.
plant()
{
	name="planted $(basename "$3" .c) $2"
	is_wanted "$name" || return 0
	expect=$(sed -n 's/^ \* expect: //p' "$3")
	MORE=--suppress=unmatchedSuppression # such as are for other files
	CONTROL=-DCONTROL
	clean=$(echo "$3" | "analyse_$(echo "$1" | tr - _)" "$2")
	CONTROL=-UCONTROL
	said=$(echo "$3" | "analyse_$(echo "$1" | tr - _)" "$2")
	CONTROL='' MORE=''
	if [ -n "$clean" ]; then
		echo "$clean" >&2
		echo "not ok lint $name: control: $(echo "$clean" | head -n 1)" \
			"(replay: tests/lint/run.sh '$name')"
	elif [ -z "$expect" ] || ! echo "$said" | grep -Fq -e "[$expect"; then
		echo "$said" >&2
		echo "not ok lint $name: $expect is not found (replay: tests/lint/run.sh '$name')"
	else
		echo "ok lint $name ($expect)"
		return
	fi
	failed=1
}

sources()
{
	find src port -name '*.c' | sort
}

# Not what must not compile, planted faults, a program of the guest, what only CBMC understands, and
# what does all that is forbidden.
test_sources()
{
	find tests -name '*.c' | sort |
		grep -vE '^tests/(nocompile/|lint/|guest/|proofs/|cage/bars\.c$)'
}

mkdir -p "$made"
sh port/calls.sh gcc port/*.c >"$made/calls.h" || exit 1
CONTROL='' MORE=''
export CONTROL
for analyser in gcc clang-tidy cppcheck; do
	sources | check $analyser sources || failed=1
	test_sources | check $analyser tests || failed=1
	has $analyser || continue
	for fault in tests/lint/"$(echo $analyser | tr - _)"_*.c; do
		for level in $(sed -n 's/^ \* found at: //p' "$fault"); do
			plant $analyser "$level" "$fault"
		done
	done
done
exit $failed
