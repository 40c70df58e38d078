# The chart: operations of each contestant as bars over rows, in multiples of what
# qemu-storage-daemon with io_uring does. Sourced by run.sh.
# shellcheck shell=sh disable=SC2154 # its variables

# A line for each row, a column for each contestant that there is; the first line names them.
bars()
{
	candidates='vubox vubox-uring vubox-mmap qsd-threads'
	candidates="$candidates bare-pread bare-pwrite bare-memcpy yours"
	awk -F , -v candidates="$candidates" '
		NR > 1 && $3 > 0 && $9 > 0 {
			if (!($1 in seen))
				row[++rows] = $1
			seen[$1]
			times[$1, $2] = $9
		}
		END {
			n = split(candidates, bar, " ")
			for (r = 1; r <= rows; r++)
				for (i = 1; i <= n; i++)
					if (times[row[r], "qsd-io_uring"] && times[row[r], bar[i]])
						used[i] = 1
			line = "row"
			for (i = 1; i <= n; i++)
				if (used[i])
					line = line " " bar[i]
			print line
			for (r = 1; r <= rows; r++) {
				one = times[row[r], "qsd-io_uring"]
				if (!one)
					continue
				line = row[r]
				for (i = 1; i <= n; i++) {
					v = times[row[r], bar[i]]
					if (used[i])
						line = line " " (v ? v / one : "?")
				}
				print line
			}
		}' "$out/results.csv"
}

# The colour of each column, in the order of gnuplot's line types.
colours()
{
	i=0
	for bar in $(head -n 1 "$tmp/bars" | cut -d ' ' -f 2-); do
		i=$((i + 1))
		case $bar in
		vubox) rgb=1b6ca8 ;;
		vubox-uring) rgb=6fb1dd ;;
		vubox-mmap) rgb=b5d6ec ;;
		qsd-threads) rgb=d9822b ;;
		bare-pread) rgb=777777 ;;
		bare-memcpy) rgb=aaaaaa ;;
		*) rgb=3a9d5d ;;
		esac
		echo "set linetype $i lc rgb '#$rgb'"
	done
	echo "set linetype $((i + 1)) lc rgb '#b22222' lw 2"
}

chart()
{
	bars >"$tmp/bars"
	[ "$(wc -l <"$tmp/bars")" -gt 1 ] || return 0
	count=$(($(head -n 1 "$tmp/bars" | wc -w) - 1))
	{
		colours
		cat <<-END
			set terminal svg size 1200,520 font "sans,13" background "white"
			set title "Operations a second, as multiples of qsd-io_uring" noenhanced
			set style data histogram
			set style histogram clustered gap 1.5
			set style fill solid 0.9 noborder
			set datafile missing "?"
			set xtics rotate by -30 nomirror scale 0
			set ytics nomirror
			set grid ytics lc rgb "#dddddd"
			set border 3
			set key outside right top noenhanced
			set yrange [0:*]
			plot for [i=2:$count + 1] "$tmp/bars" using i:xtic(1) \
				title columnheader(i) lt i - 1, \
				1 with lines lt $count + 1 title "qsd-io_uring"
		END
	} | gnuplot >"$tmp/results.svg"
	# What it draws ends in blanks here and there, which no file of this tree does.
	sed 's/[[:blank:]]*$//' "$tmp/results.svg" >"$out/results.svg"
}
