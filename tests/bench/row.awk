# One row of the table, from lines of: row contestant round operations/s p50 p99 [cpu]
# -v row= reference= target= csv= [-v measured=2|3|4: p50, p99, processor time: less is better]

function median(c, column,    n, i, j, v, t) {
	n = 0
	for (i = 1; i <= rounds; i++) {
		if (!((c, i, column) in value) || value[c, i, column] == "")
			continue
		t = value[c, i, column]
		for (j = n++; j > 0 && v[j] > t; j--)
			v[j + 1] = v[j]
		v[j + 1] = t
	}
	if (n == 0)
		return ""
	low = v[1]
	high = v[n]
	return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
}

function verdict(ratio,    middle) {
	if (ratio == "")
		return "failed"
	middle = median(reference, measured)
	if (high - low > middle / 4)
		return "too noisy to tell"
	return (less ? ratio <= target : ratio >= target) ? "met" : "missed"
}

function number(v, format) {
	return v == "" ? "-" : sprintf(format, v)
}

# A row of one column shows that alone.
function shown_of(c, column) {
	return less && column != measured ? "" : median(c, column)
}

BEGIN {
	less = measured > 1
	measured = less ? measured : 1
}

$1 == row {
	if (!($2 in known))
		name[++names] = $2
	known[$2]
	if ($3 > rounds)
		rounds = $3
	if ($4 == "failed" || (less && $(measured + 3) == ""))
		next
	for (i = 1; i <= 4; i++)
		value[$2, $3, i] = $(i + 3)
}

END {
	for (k = 1; k <= names; k++) {
		c = name[k]
		for (i = 1; i <= rounds; i++)
			if (value[c, i, measured] != "" && value[reference, i, measured] > 0)
				value[c, i, "ratio"] = value[c, i, measured] / value[reference, i, measured]
		ratio = median(c, "ratio")
		middle = median(c, measured)
		if (middle == "" && less)
			continue
		spread = middle == "" ? "-" : sprintf("-%d%% +%d%%", (1 - low / middle) * 100 + 0.5,
			(high / middle - 1) * 100 + 0.5)
		said = k == 1 ? verdict(ratio) : ""
		if (k == 1)
			line = sprintf("%s %s of %s: %s", less ? "<=" : ">=", target, reference, said)
		else
			line = ""
		printf "%-16s %-16s %9s %8s %8s %7s %-11s %6s %s\n", k == 1 ? shown : "", c,
			number(shown_of(c, 1), "%d"), number(shown_of(c, 2), "%.1f"),
			number(shown_of(c, 3), "%.1f"), number(shown_of(c, 4), "%.2f"),
			spread, number(ratio, "%.2f"), line
		median(c, measured)
		print shown "," c "," (less ? "" : middle) "," low "," high "," \
			shown_of(c, 2) "," shown_of(c, 3) "," shown_of(c, 4) "," \
			ratio "," reference "," (k == 1 ? target : "") "," said >>csv
	}
}
