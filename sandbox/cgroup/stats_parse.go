package cgroup

import (
	"bytes"
	"iter"
	"math"
	"strconv"
)

// The parsers of statistics take bytes and keep none of them: they run over some
// KiB for each container of a node, every few seconds.

// parseNumber reads a file that holds one number; "max" and -1 are none, which
// is the largest number. A number that is too large for 64 bits is not one.
func parseNumber(text []byte) (uint64, bool) {
	text = bytes.TrimSpace(text)
	if s := string(text); s == "max" || s == "-1" {
		return math.MaxUint64, true
	}
	return parseDigits(text)
}

func parseDigits(text []byte) (n uint64, ok bool) {
	for _, c := range text {
		d := uint64(c - '0')
		if d > 9 || n > (math.MaxUint64-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, len(text) > 0
}

// eachPair calls yield for each line "key number" of a flat keyed file; lines of
// another form are not ours to judge.
func eachPair(text []byte, yield func(key []byte, n uint64)) {
	for line := range eachLine(text) {
		key, rest, ok := bytes.Cut(line, []byte{' '})
		if !ok {
			continue
		}
		if n, ok := parseDigits(rest); ok {
			yield(key, n)
		}
	}
}

// eachLine yields the lines of a file, without what ends them.
func eachLine(text []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(text) > 0 {
			line, rest, _ := bytes.Cut(text, []byte{'\n'})
			text = rest
			if !yield(line) {
				return
			}
		}
	}
}

// eachSetting calls yield for each "key=value" among the fields.
func eachSetting(fields []byte, yield func(key, value []byte)) {
	for f := range bytes.FieldsSeq(fields) {
		if key, value, ok := bytes.Cut(f, []byte{'='}); ok {
			yield(key, value)
		}
	}
}

// parsePressure reads one PSI file: two lines "some avg10=0.00 avg60=0.00
// avg300=0.00 total=0"; before Linux 5.13 the one of the processor has no line
// "full". A kernel can have PSI compiled in and switched off: then reading is an
// error, and the part unknown.
func parsePressure(text []byte) (p Pressure) {
	for line := range eachLine(text) {
		kind, rest, _ := bytes.Cut(line, []byte{' '})
		into := &p.Some
		switch string(kind) {
		case "some":
			p.Known = true
		case "full":
			into = &p.Full
		default:
			continue
		}
		eachSetting(rest, into.set)
	}
	return p
}

func (l *PressureLine) set(key, value []byte) {
	var avg *float64
	switch string(key) {
	case "total":
		if n, ok := parseDigits(value); ok && n <= math.MaxInt64/1000 {
			l.Total = micros(n)
		}
		return
	case "avg10":
		avg = &l.Avg10
	case "avg60":
		avg = &l.Avg60
	case "avg300":
		avg = &l.Avg300
	default:
		return
	}
	if n, err := strconv.ParseFloat(string(value), 64); err == nil && n >= 0 && n <= 100 {
		*avg = n
	}
}
