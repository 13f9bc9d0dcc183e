package native

import (
	"errors"

	"golang.org/x/sys/unix"
)

// frame is what must stand before the rules of a pod do anything: a table,
// chains, and the rules that lead into them.
type frame struct {
	needs   []message // tables and chains, in order
	entries []entryRules
}

// entryRules are the chain that packets come in by and all its rules.
type entryRules struct {
	chain chain
	rules []message
}

// applyIn applies a pod's rules. The frame is made, or made anew, when an
// entry has not as many rules as it should: others may flush what they like.
// Making it each time, as the reference does, replaces rules that all packets
// pass.
func (r *rules) applyIn(f frame, add ...message) error {
	whole := true
	for _, e := range f.entries {
		have, err := r.list(e.chain)
		if err != nil {
			return err
		}
		whole = whole && len(have) == len(e.rules)
	}
	if whole {
		if err := r.apply(add...); !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	ms := f.needs
	for _, e := range f.entries {
		ms = append(ms, e.chain.ensure())
		if len(e.rules) > 0 {
			ms = append(append(ms, e.chain.flush()), e.rules...)
		}
	}
	return r.apply(append(ms, add...)...)
}
