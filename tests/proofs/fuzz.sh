#!/bin/sh
# Runs the proofs' files by libFuzzer with sanitizers: what CBMC is told about them is so on a real
# machine, too, and sizes that CBMC is spared are met.
#
#     tests/proofs/fuzz.sh [SECONDS [FILE...]]      for each file; default: 3
set -u
cd "$(dirname "$0")/../.." || exit 2
seconds=${1:-3}
[ $# = 0 ] || shift
out=build/tests/proofs
failed=0
mkdir -p "$out"

fuzz()
{
	of=$(awk -v file="$1" '$1 == file && $2 == "of" { $1 = $2 = ""; print }' tests/proofs/list)
	# shellcheck disable=SC2086 # words
	if ! clang -std=c11 -D_GNU_SOURCE -g -O1 -Wall -Wextra -Werror \
			-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
			-Iinclude -Itests/proofs "tests/proofs/$1.c" tests/proofs/nondet.c $of \
			-o "$out/$1" >"$out/$1.log" 2>&1; then
		why="it does not build: $(grep -m 1 error: "$out/$1.log")"
	elif ! "$out/$1" -seed=1 -max_len=400 -max_total_time="$seconds" -timeout=10 \
			-artifact_prefix="$out/$1-" >"$out/$1.log" 2>&1; then
		why=$(grep -m 1 -E '^proof: |runtime error:|ERROR:' "$out/$1.log")
		why="${why:-see $out/$1.log} (replay: $out/$1 $(sed -n \
			's/.*written to \(.*\)/\1/p' "$out/$1.log" | tail -n 1))"
	else
		echo "ok proofs/$1 fuzzed"
		tail -n 1 "$out/$1.log" >&2
		return
	fi
	failed=1
	echo "not ok proofs/$1 fuzzed: $why"
}

if ! command -v clang >/dev/null; then
	echo "skip proofs fuzzed: no clang"
	exit 0
fi
[ $# != 0 ] || set -- $(awk '/^[^#]/ { print $1 }' tests/proofs/list | uniq)
for file; do
	fuzz "$file"
done
exit $failed
