#!/bin/sh
# How much of src/base and src/core the unit tests and the simulator reach, line by line and branch
# by branch. build/coverage/table has it by file, build/coverage/missed what was not reached.
set -eu
cd "$(dirname "$0")/../.."

out=build/coverage
objects="build/tests/obj/coverage build/tests/obj/coverage-sim"
rm -rf "$out"
mkdir -p "$out"
# shellcheck disable=SC2086 # both are searched
find $objects -name '*.gcda' -delete
for suite in build/tests/coverage/*; do
	case $suite in
	*/sim) "$suite" --seeds "${SEEDS:-1-2000}" ;;
	*) "$suite" ;;
	esac >"$out/log" 2>&1 || {
		echo "not ok coverage: $suite failed (replay: $suite)"
		tail -n 5 "$out/log" >&2
		exit 1
	}
done
# The tests call inline functions of headers.
for dir in $objects; do
	(cd $dir && find src/base src/core src/dev tests/unit -name '*.gcno' -printf "$dir/%p\n")
done | sort | xargs gcov --json-format --stdout --branch-probabilities |
	python3 tests/coverage/report.py "$out"
