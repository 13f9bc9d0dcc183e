package cgroup

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// parseUint reads one number of a control file; "max" and anything too large is
// the largest number, -1 ("no limit" of some v1 files) too.
func parseUint(text string) (uint64, error) {
	text = strings.TrimSpace(text)
	if text == "max" || text == "-1" {
		return math.MaxUint64, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("number %q: %w", text, err)
	}
	return n, nil
}

func readUint(d dir, file string) (uint64, error) {
	text, err := d.read(file)
	if err != nil {
		return 0, err
	}
	return parseUint(text)
}
