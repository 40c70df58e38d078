#!/bin/sh
# The shape of the house as a test: layers, sizes, no heap, no recursion, every option documented.
set -eu
cd "$(dirname "$0")/.."

CC=${TIDY_CC:-gcc} # gcc, because it can write call graphs
CFLAGS="-std=c11 -D_GNU_SOURCE -DVUBOX_VERSION=\"tidy\" -Iinclude"
VUBOX=${VUBOX:-./vubox}
WITH_SYMBOLS=${WITH_SYMBOLS:-build/vubox.debug} # the same, not stripped
FILE_LINES_MAX=500 FILE_LINES_MEDIAN=200
FUNCTION_LINES_MAX=60 FUNCTION_LINES_MEDIAN=12
LINE_COLUMNS_MAX=100
BINARY_BYTES_MAX=114688

# Which layer a file is in; it includes only what has the same number or a lower one. A header is in
# the layer of the .c of the same name, or else of its row here.
layer_table='
	include/spec/    0 spec
	include/config.h 0 base
	include/le.h     0 base
	include/num.h    0 base
	include/out.h    0 base
	include/port.h   1 port
	src/base/        0 base
	port/            1 port
	src/core/        2 core
	include/device.h 2 core
	include/option.h 2 core
	include/inflight_entry.h 2 core
	include/vring_format.h 2 core
	src/dev/         3 dev
	src/             4 main
'
# What is not port/ has only this of the system: headers of C itself.
C_HEADERS='errno|inttypes|limits|stdalign|stdarg|stdatomic|stdbool|stddef|stdint|stdio|string'
HEAP='((m|c|re)alloc|reallocarray|free|aligned_alloc|posix_memalign|strn?dup|alloca|s?brk)'

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

# One case: ok if nothing is said on stdin, else every line of it is a reason.
check()
{
	if sed 's/^/    /' >"$tmp/reasons" && [ ! -s "$tmp/reasons" ]; then
		echo "ok tidy $1"
		return
	fi
	: >"$tmp/failed"
	head -n 25 "$tmp/reasons" >&2
	echo "not ok tidy $1: $(sed -n '1s/^ *//p' "$tmp/reasons")" \
		"($(wc -l <"$tmp/reasons") in all) (replay: tests/tidy.sh)"
}

sources=$(find include src port -name '*.[ch]' | sort)
units=$(echo "$sources" | grep '\.c$')
outside_port=$(echo "$sources" | grep -v '^port/')
if [ -e .git ] && command -v git >/dev/null; then
	all_files=$(git ls-files -co --exclude-standard)
else
	all_files=$(find . -type f -not -path './.git/*' -not -path './build/*' -not -name vubox)
fi
all_files=$(for f in $all_files; do [ ! -f "$f" ] || echo "$f"; done)
[ -n "$units" ] && [ -n "$all_files" ] || exit 2
sh port/calls.sh "$CC" $(echo "$units" | grep '^port/') >"$tmp/calls.h"
CFLAGS="$CFLAGS -I$tmp"
test_sources=$(echo "$all_files" | grep '^tests/.*\.[ch]$' || :)

# A C file without comments and string literals, its lines kept: code_of FILE...: FILE: code
code_of()
{
	for f in "$@"; do
		awk -v name="$f" '
		{
			out = ""
			for (s = $0; s != ""; ) {
				if (in_comment) {
					if (!(i = index(s, "*/")))
						break
					in_comment = 0; s = substr(s, i + 2)
				} else if (match(s, /^"([^"\\]|\\.)*"/) ||
						match(s, /^\047([^\047\\]|\\.)+\047/)) {
					out = out "\"\""; s = substr(s, RLENGTH + 1)
				} else if (s ~ /^\/\*/) {
					in_comment = 1; s = substr(s, 3)
				} else if (s ~ /^\/\//) {
					break
				} else {
					out = out substr(s, 1, 1); s = substr(s, 2)
				}
			}
			print name ":" NR ": " out
		}' "$f"
	done
}

# The layer of a file by the first row that fits its path or, for a header, the path of its .c.
layer_of()
{
	path=$1
	case $path in
	include/*.h)
		name=$(basename "$path" .h)
		c=$(find src port -name "$name.c" | head -n 1)
		in_table "$path" || in_table "${c:-none}" || echo "? $path"
		;;
	*) in_table "$path" || echo "? $path" ;;
	esac
}

in_table()
{
	echo "$layer_table" | awk -v path="$1" '
		$1 != "" && index(path, $1) == 1 { print $2, $3; found = 1; exit }
		END { exit !found }'
}

find_header()
{
	for dir in "$(dirname "$1")" include "$tmp"; do
		[ ! -f "$dir/$2" ] || { echo "$dir/$2"; return; }
	done
	echo "$2"
}

check_layers()
{
	for f in $sources; do
		echo "$f $(layer_of "$f")"
	done >"$tmp/layers"
	echo "$tmp/calls.h 1 port" >>"$tmp/layers" # made by port/calls.sh
	sed -n 's/^\(.*\) ? .*/\1 is in no layer: add a row/p' "$tmp/layers" |
		check "every file has a layer"

	for f in $sources; do
		sed -n 's/^ *# *include *"\([^"]*\)".*/\1/p' "$f" | while read -r h; do
			echo "$f $(find_header "$f" "$h")"
		done
	done >"$tmp/includes"
	awk '
		NR == FNR { level[$1] = $2; layer[$1] = $3; next }
		!($2 in level) { print $1 " includes " $2 ", which is not there"; next }
		level[$2] > level[$1] {
			print $1 " (" layer[$1] ") includes " $2 " (" layer[$2] "), a step up"
		}
	' "$tmp/layers" "$tmp/includes" | check "a file includes only its layer and those below"

	{ grep -nE '^ *# *include *<' $outside_port || :; } | grep -vE "<($C_HEADERS)\.h>" |
		check "only port/ includes system headers"
}

# FILE:LINE NAME LINES for each function: the house style puts its braces into the first column.
functions_of()
{
	for f in "$@"; do
		awk -v file="$f" '
		/^[a-zA-Z_].*\(/ && !/;$/ {
			name = $0
			sub(/\(.*/, "", name)
			sub(/.*[ *]/, "", name)
		}
		/^[a-z].*\) \{ .*\}$/ { print file ":" NR, name, 1 }
		/^\{/ { start = NR }
		/^\}$/ && start { print file ":" start, name, NR - start + 1; start = 0 }
		' "$f"
	done
}

median()
{
	sort -n | awk '{ v[NR] = $1 } END { print NR ? v[int((NR + 1) / 2)] : 0 }'
}

check_sizes()
{
	for f in $sources $test_sources; do
		echo "$f $(wc -l <"$f")"
	done >"$tmp/files"
	awk -v max=$FILE_LINES_MAX '$2 > max { print $1 " has " $2 " lines" }' "$tmp/files" |
		check "a file has $FILE_LINES_MAX lines at most"
	file_median=$(for f in $sources; do wc -l <"$f"; done | median)
	{ [ "$file_median" -le $FILE_LINES_MEDIAN ] || echo "it is $file_median"; } |
		check "the median file has $FILE_LINES_MEDIAN lines at most"

	functions_of $sources $test_sources >"$tmp/functions"
	awk -v max=$FUNCTION_LINES_MAX '$3 > max { print $1 ": " $2 " has " $3 " lines" }' \
		"$tmp/functions" | check "a function has $FUNCTION_LINES_MAX lines at most"
	functions_of $units | awk '{ print $3 }' >"$tmp/lengths"
	function_median=$(median <"$tmp/lengths")
	{ [ "$function_median" -le $FUNCTION_LINES_MEDIAN ] || echo "it is $function_median"; } |
		check "the median function has $FUNCTION_LINES_MEDIAN lines at most"
	echo "# $(echo "$sources" | wc -l) files, median $file_median lines;" \
		"$(wc -l <"$tmp/lengths") functions, median $function_median lines"
}

check_code()
{
	code_of $sources >"$tmp/code"
	grep -E "[^a-z_.>]$HEAP *\(" "$tmp/code" | check "no heap, no alloca"
	grep -E '^[^:]*:[0-9]*: *extern ' "$tmp/code" | grep -vE '\bconst\b|\(' |
		check "no mutable extern"
	grep -E '^[^:]*:[0-9]*: *# *(if|ifdef|ifndef|elif)\b' "$tmp/code" |
		grep -vE '^(port/|src/dev/table\.c:)' |
		grep -vE '^include/[^:]*:[0-9]*: #ifndef VUBOX_[A-Z0-9_]*_H$' |
		grep -vE '^include/config\.h:[0-9]*: #ifndef CONFIG_[A-Z0-9_]*$' |
		check "no #ifdef outside port/ and the device table"
	sed -n 's,^#ifndef \(CONFIG_.*\),include/config.h: \1,p' include/config.h | sort | uniq -d |
		check "a limit of include/config.h has one meaning"
	for f in $units; do
		head -n 1 "$f" | grep -q '^/\*' || echo "$f"
	done | check "a .c file opens with what it is"
}

# What the compiler knows: one pass over all units for warnings, call graph and symbols.
check_compiled()
{
	for f in $units; do
		"$CC" $CFLAGS -O0 -fno-pie -Wvla -Walloca -fcallgraph-info -c "$f" \
			-o "$tmp/$(echo "$f" | tr / _).o" 2>&1 || :
	done | grep -E '(error|warning):' | check "it compiles, without variable-length arrays"

	sed -n 's/^edge: { sourcename: "\([^"]*\)" targetname: "\([^"]*\)".*/\1 \2/p' "$tmp"/*.ci |
		sort -u >"$tmp/calls"
	{
		awk '$1 == $2 { print $1 " calls itself" }' "$tmp/calls"
		awk '$1 != $2' "$tmp/calls" | tsort 2>&1 >/dev/null | sed 's/^tsort: //'
		[ -s "$tmp/calls" ] || echo "no call graph"
	} | check "no recursion"

	# The graph of includes, once more as the linker sees it. out.h is base's hole in the wall.
	for f in $units; do
		nm "$tmp/$(echo "$f" | tr / _).o" |
			awk -v f="$f" -v layer="$(layer_of "$f")" '
				$1 == "U" { print "uses", f, layer, $2 }
				$2 ~ /^[A-Z]$/ { print "has", f, layer, $3 }'
	done | sort >"$tmp/symbols"
	awk '
		$1 == "has" { file[$5] = $2; level[$5] = $3 }
		$1 == "uses" && level[$5] > $3 && $5 !~ /^out_/ {
			print $2 " (" $4 ") uses " $5 " of " file[$5] ", a step up"
		}
	' "$tmp/symbols" | check "a file uses only its layer and those below"

	for o in "$tmp"/*.o; do
		nm "$o" | sed -n "s|^[0-9a-f]* [BCDGS] |$(basename "$o" .o): |p"
	done | check "no mutable object is visible outside its file"
	for o in "$tmp"/*.o; do
		nm "$o" | awk -v o="$(basename "$o" .o)" '
			$2 ~ /^[bdgs]$/ { n++; names = names " " $3 }
			END { if (n > 1) print o ":" names }'
	done | check "a file has one table of state at most"
}

check_text()
{
	grep -nIE '\b(TO[D]O|FIX[M]E|X[X]X|HA[C]K)\b' $all_files | check "nothing is left to do"
	# A patch shows empty lines as it must, and what fuzzing found is as it is.
	written=$(echo "$all_files" | grep -vE '\.patch$|/corpus/')
	grep -nIE '[[:blank:]]+$' $written | check "no trailing space"
	for f in $(echo "$all_files" | grep -E '\.(c|h|sh|py|mk)$|^Makefile$'); do
		expand "$f" | awk -v f="$f" -v max=$LINE_COLUMNS_MAX \
			'length > max { print f ":" NR ": " length " columns" }'
	done | check "a line has $LINE_COLUMNS_MAX columns at most"
	for f in $(echo "$all_files" | grep '\.sh$'); do
		sh -n "$f" 2>&1 || :
	done | check "scripts parse"
}

options_in()
{
	grep -oE -e '(^|[^a-zA-Z0-9-])--[a-z][a-z-]*' | sed 's/^[^-]*//' | sort -u
}

check_manual()
{
	man=share/man/vubox.8
	if command -v mandoc >/dev/null; then
		{ mandoc -T lint -W warning $man 2>&1 || :; } |
			check "mandoc finds nothing in the manual"
	else
		echo "skip tidy manual: no mandoc"
	fi
	if [ ! -x "$VUBOX" ]; then
		echo "no $VUBOX: make first" | check "the program is there"
		return
	fi
	{ "$VUBOX" --help; for device in $("$VUBOX" --list | awk '{ print $1 }'); do
		"$VUBOX" "$device" --help
	done; } | options_in >"$tmp/help"
	[ -s "$tmp/help" ] || echo "--help names no option" | check "--help works"
	sed -e '/^\.\\"/d' -e 's/\\-/-/g' $man | grep -oE 'Fl -[a-z][a-z-]*' |
		sed 's/Fl -/--/' | sort -u >"$tmp/man"
	cat README.md 2>/dev/null | options_in >"$tmp/readme"
	comm -23 "$tmp/help" "$tmp/man" | check "every option of --help is in the manual"
	comm -13 "$tmp/help" "$tmp/man" | check "every option of the manual is in --help"
	comm -23 "$tmp/help" "$tmp/readme" | check "every option of --help is in README.md"
}

check_binary()
{
	[ -x "$VUBOX" ] || return 0
	strip -o "$tmp/vubox" "$VUBOX"
	bytes=$(wc -c <"$tmp/vubox")
	echo "# $VUBOX: $bytes bytes stripped;" $(size "$VUBOX" | tail -n 1 |
		awk '{ print "text " $1 ", data " $2 ", bss " $3 }')
	if command -v musl-gcc >/dev/null; then
		{ [ "$bytes" -le $BINARY_BYTES_MAX ] || echo "it has $bytes"; } |
			check "the binary has $BINARY_BYTES_MAX bytes at most"
	else
		echo "skip tidy binary size: no musl here"
	fi
	readelf -lW "$VUBOX" | grep -E 'INTERP|DYNAMIC' | check "the binary is static"
	{
		nm "$WITH_SYMBOLS" >"$tmp/symbols" 2>&1
		grep -q ' T main$' "$tmp/symbols" || echo "no symbols to look at"
		grep -E "[ _]$HEAP\$" "$tmp/symbols"
	} | check "the binary has no heap"
}

check_layers
check_sizes
check_code
check_compiled
check_text
check_manual
check_binary
[ ! -e "$tmp/failed" ]
