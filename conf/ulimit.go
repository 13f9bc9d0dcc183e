package conf

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Unlimited is the value of a limit that is none (RLIM_INFINITY).
const Unlimited = math.MaxUint64

// Ulimit is one resource limit of a container.
type Ulimit struct {
	Name       string // lower case, without RLIMIT_
	Soft, Hard uint64
}

// Type returns the name the runtime specification uses, such as RLIMIT_NOFILE.
func (u Ulimit) Type() string { return "RLIMIT_" + strings.ToUpper(u.Name) }

func ulimitNames() []string {
	return []string{
		"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue",
		"nice", "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack",
	}
}

// UnmarshalText reads NAME=SOFT:HARD or NAME=BOTH.
func (u *Ulimit) UnmarshalText(text []byte) error {
	name, values, ok := strings.Cut(string(text), "=")
	if !ok {
		return fmt.Errorf("ulimit %q: write NAME=SOFT:HARD, such as nofile=1024:524288", text)
	}
	if !slices.Contains(ulimitNames(), name) {
		return fmt.Errorf("ulimit %q: the name is none of %s", text, strings.Join(ulimitNames(), ", "))
	}
	soft, hard, two := strings.Cut(values, ":")
	if !two {
		hard = soft
	}
	l := Ulimit{Name: name}
	var err error
	if l.Soft, err = ulimitValue(soft); err != nil {
		return fmt.Errorf("ulimit %q: %w", text, err)
	}
	if l.Hard, err = ulimitValue(hard); err != nil {
		return fmt.Errorf("ulimit %q: %w", text, err)
	}
	if l.Soft > l.Hard {
		return fmt.Errorf("ulimit %q: the soft limit is above the hard one", text)
	}
	*u = l
	return nil
}

// MarshalText writes what UnmarshalText reads.
func (u Ulimit) MarshalText() ([]byte, error) {
	return []byte(u.Name + "=" + ulimitText(u.Soft) + ":" + ulimitText(u.Hard)), nil
}

func ulimitValue(text string) (uint64, error) {
	if text == "unlimited" || text == "-1" {
		return Unlimited, nil
	}
	v, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is neither a number nor \"unlimited\"", text)
	}
	return v, nil
}

func ulimitText(v uint64) string {
	if v == Unlimited {
		return "unlimited"
	}
	return strconv.FormatUint(v, 10)
}

// Absent lists the host paths at and below which a missing mount source
// refuses the container; "/" is all of them, and none means that a missing
// source is made.
type Absent []string

// UnmarshalText reads the two words for all and none; a list needs no word.
func (a *Absent) UnmarshalText(text []byte) error {
	switch string(text) {
	case "create":
		*a = nil
	case "reject":
		*a = Absent{"/"}
	default:
		return fmt.Errorf("%q is neither \"create\" nor \"reject\" nor a list of paths", text)
	}
	return nil
}
