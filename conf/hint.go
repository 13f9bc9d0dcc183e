package conf

import "fmt"

// hint proposes which of the keys was probably meant.
func hint(name string, keys []string) string {
	best, least := "", 4
	for _, k := range keys {
		if d := distance(name, k); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return " (\"slipway config default\" lists all keys)"
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// distance counts the insertions, deletions and replacements of bytes between
// two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
