#!/bin/sh
# hang guard: 2400 s
# Proves what `list` names, with CBMC 6; then plants one bug after the other (planted/NAME.patch,
# whose first line is `# FILE PROOF: what it is`) and requires that its proof fails.
#
#     tests/proofs/run.sh [NAME...]      of proofs: FILE or FILE/PROOF, or of planted bugs
#
# A proof that cannot come to its end would hold whatever it claims, so at the end of each stands
# a claim that must fail. CBMC is the machine's own, if that is version 6, or prepare.sh's.
set -u
cd "$(dirname "$0")/../.." || exit 2
PROOF_S=900
CBMC="timeout $PROOF_S cbmc --no-malloc-may-fail --pointer-overflow-check -D_GNU_SOURCE -Iinclude
	-Itests/proofs"

# ---- one proof, or one planted bug, in a process of its own: one case ----

words_of()
{
	awk -v file="$1" -v what="$2" '
		$1 == file && $2 == what { $1 = $2 = ""; print }' tests/proofs/list
}

# Runs CBMC in $tree, where that is.
cbmc_in_tree()
{
	if [ -n "$CHROOT" ]; then
		# shellcheck disable=SC2016 # the inner shell's
		chroot "$CHROOT" sh -c 'cd "$0" && exec "$@"' "${tree#"$CHROOT"}" $CBMC "$@"
	else
		(cd "$tree" && exec $CBMC "$@")
	fi
}

# FILE PROOF: $said is `proved`, `failed: what` or another reason why it is not.
prove()
{
	cat >"$tree/end.c" <<-END
	void $2(void);
	void proof_end(void);
	void proof_end(void)
	{
		$2();
		__CPROVER_assert(0, "the end");
	}
	END
	cbmc_in_tree $(words_of "$1" of) $(words_of "$1" "$2") --function proof_end \
		end.c "tests/proofs/$1.c" >"$tree/log" 2>&1
	# A verdict is under a line that names its file and function.
	awk '
		/^\[/ && !/: SUCCESS$/ { sub(/^\[[^]]*\] /, ""); print where " " $0 }
		!/^\[/ { where = $1 }' "$tree/log" >"$tree/failures"
	if ! grep -q '^VERIFICATION ' "$tree/log"; then
		said="no verdict: $(tail -n 1 "$tree/log")"
	elif ! grep -q '^end.c .* the end: FAILURE$' "$tree/failures"; then
		said="its end cannot be reached"
	elif [ "$(wc -l <"$tree/failures")" != 1 ]; then
		# Behind a failure, what depends on it is unknown.
		said="failed: $(sort "$tree/failures" | awk '
			/^end.c / { next }
			/: FAILURE$/ { first = $0; exit }
			first == "" { first = $0 }
			END { print first }')"
	else
		said=proved
	fi
}

one_case()
{
	tree=$(mktemp -d "$SCRATCH/tree.XXXXXX") || exit 1
	case $1 in
	*/*)
		cp -a include src tests "$tree"
		prove "${1%/*}" "${1#*/}"
		[ "$said" != proved ] || { echo "ok proof $1"; return; }
		;;
	*)
		patch=tests/proofs/planted/$1.patch
		of=$(sed -n '1s/^# \([^ ]* [^ :]*\):.*/\1/p' "$patch")
		cp -a include src tests "$tree"
		if ! (cd "$tree" && patch -s -p1 -F 2) <"$patch" >"$tree/log" 2>&1; then
			said="the patch does not apply any more: $(tail -n 1 "$tree/log")"
		else
			# shellcheck disable=SC2086 # FILE PROOF
			prove $of
		fi
		case $said in
		failed:*) echo "ok planted $1 (${said#failed: })"; return ;;
		proved) said="its proof still holds" ;;
		esac
		;;
	esac
	keep=build/log/proofs_$(echo "$1" | tr / _)
	mkdir -p build/log
	cp "$tree/log" "$keep"
	echo "not ok ${1#*/}: $said (replay: tests/proofs/run.sh $1; $keep)"
}

if [ "${1:-}" = --one ]; then
	start=$(date +%s)
	one_case "$2"
	echo "# $2: $(($(date +%s) - start)) s" >&2
	rm -rf "$tree"
	exit 0
fi

# ---- all of them ----

CHROOT=
case $(cbmc --version 2>/dev/null) in
6.*) ;;
*)
	CHROOT=$(sh tests/proofs/prepare.sh) || {
		echo "not ok proofs: there is no CBMC 6 (replay: tests/proofs/prepare.sh)"
		exit 1
	}
	;;
esac
SCRATCH=$(mktemp -d "$CHROOT/tmp/vubox.XXXXXX") || exit 1
trap 'rm -rf "$SCRATCH"' EXIT
trap 'exit 1' HUP INT TERM
export CHROOT SCRATCH

names()
{
	awk '/^[^#]/ && $2 != "of" { print $1 "/" $2 }' tests/proofs/list
	for patch in tests/proofs/planted/*.patch; do
		basename "$patch" .patch
	done
}

# NAME...: those that are asked for.
chosen()
{
	[ $# != 0 ] || { names; return; }
	for name; do
		names | grep -E "^$name(/|\$)" ||
			echo "not ok proofs: there is no $name (replay: tests/proofs/run.sh)" >&2
	done
}

chosen "$@" >"$SCRATCH/names"
xargs -P "$(nproc)" -n 1 sh tests/proofs/run.sh --one <"$SCRATCH/names" >"$SCRATCH/cases"
cat "$SCRATCH/cases"
[ "$(grep -Ec '^(not )?ok ' "$SCRATCH/cases")" = "$(wc -l <"$SCRATCH/names")" ] &&
	! grep -q '^not ok ' "$SCRATCH/cases"
