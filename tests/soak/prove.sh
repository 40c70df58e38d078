#!/bin/sh
# Shows that the soak can find something: each of these bugs (of tests/mutants) must end it.
#
#     tests/soak/prove.sh [NAME...]     MINUTES=0.7 for each
set -eu
cd "$(dirname "$0")/../.."
here=$(pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

# Leaks of descriptors, mappings and memory; requests lost by a death, in both formats.
[ $# -gt 0 ] || set -- fd-leak-on-error unmap-missing slot-leak inflight-not-marked \
	packed-not-marked
make -s build/tests/soak/soak
cp -a Makefile include src port share tests "$tmp"
failed=0
for name; do
	patch -s -d "$tmp" -p1 -F 2 <"tests/mutants/$name.patch"
	make -s -C "$tmp" BUILD=build build/vubox >"$tmp/log" 2>&1
	if VUBOX=$tmp/build/vubox build/tests/soak/soak "${MINUTES:-0.7}" 1 >"$tmp/log" 2>/dev/null
	then
		failed=1
		echo "not ok soak proof $name: not noticed (replay: tests/soak/prove.sh $name)"
	else
		why=$(sed -n 's/^not ok soak: \(.*\) (replay.*/\1/p' "$tmp/log")
		echo "ok soak proof $name ($why)"
	fi
	patch -s -R -d "$tmp" -p1 -F 2 <"$here/tests/mutants/$name.patch"
done
exit "$failed"
