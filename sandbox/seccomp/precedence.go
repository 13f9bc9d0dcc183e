package seccomp

import (
	"cmp"
	"fmt"
	"slices"
)

// call collects the rules for one system call number. Which wins is decided as
// libseccomp does, whatever their order in the profile:
//
//   - a rule without conditions beats all that have some, and the first such
//     rule beats later ones;
//   - of rules with conditions, those on a higher argument are tried first;
//     then = and != before < and <= before > and >=; then the higher value
//     first, but for < and <= the lower; then the order of the profile;
//   - a rule whose conditions are the beginning of another's hides it;
//   - the same conditions with two verdicts are an error.
type call struct {
	always  bool // a rule without conditions was seen
	verdict uint32
	rules   []rule // in the order to try them
}

func (c *call) add(r rule) error {
	if c.always {
		return nil
	}
	if len(r.conditions) == 0 {
		c.always, c.verdict, c.rules = true, r.verdict, nil
		return nil
	}
	at := len(c.rules)
	for i, old := range c.rules {
		if slices.Equal(old.conditions, r.conditions) {
			if old.verdict != r.verdict {
				return fmt.Errorf("two actions for the same condition on argument %d", r.conditions[0].arg)
			}
			return nil
		}
		if at == len(c.rules) && before(r.conditions, old.conditions) {
			at = i
		}
	}
	c.rules = slices.Insert(c.rules, at, r)
	return nil
}

// before says whether conditions a are tried before b.
func before(a, b []condition) bool {
	for i := range min(len(a), len(b)) {
		if order := compare(a[i], b[i]); order != 0 {
			return order < 0
		}
	}
	return len(a) < len(b)
}

func compare(a, b condition) int {
	if order := cmp.Compare(b.arg, a.arg); order != 0 {
		return order
	}
	if order := cmp.Compare(b.rank(), a.rank()); order != 0 {
		return order
	}
	if a.rank() == rankLess {
		return cmp.Compare(a.value, b.value)
	}
	return cmp.Compare(b.value, a.value)
}

const (
	rankMore = iota
	rankLess
	rankEqual
)

func (c condition) rank() int {
	switch {
	case c.op == opEqual:
		return rankEqual
	case c.negated:
		return rankLess
	default:
		return rankMore
	}
}
