#!/bin/sh
# Installs what is missing of tests/packages: all, or what the given uses (second column) need.
#
#     tests/install.sh [USE...]
#
# Quick and silent if nothing is missing. Without root it only says what is missing.
#
# shellcheck disable=SC2086 # lists of packages are to be split
set -eu
cd "$(dirname "$0")"

wanted=$(awk -v uses="$*" '
	BEGIN { n = split(uses, use) }
	/^[^#]/ { if (n == 0) print $1; for (i = 1; i <= n; i++) if ($2 == use[i]) print $1 }
' packages)

if ! command -v dpkg-query >/dev/null; then
	echo "install.sh: this is not Debian; what is needed is called there:" $wanted >&2
	exit 1
fi
have=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $wanted 2>/dev/null |
	sed -n 's/^installed //p')
missing=$(echo "$wanted" | grep -Fxv "$have" || :)
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "install.sh: missing, install as root: apt-get install" $missing >&2
	exit 1
fi
echo "installing" $missing
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT

get()
{
	apt-get -y -o DPkg::Lock::Timeout=300 "$@" </dev/null >"$log" 2>&1
}
# The package lists of a fresh machine are empty, those of an old one name files that are gone.
get install --no-install-recommends $missing || {
	get update && get install --no-install-recommends $missing
} || {
	tail -n 20 "$log" >&2
	exit 1
}
