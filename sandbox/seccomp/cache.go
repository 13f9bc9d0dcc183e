package seccomp

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// cacheSize is how many compiled filters a Cache keeps. A node runs a handful
// of different profiles; each filter is about 3 kB.
const cacheSize = 64

// Cache remembers compiled filters by the hash of their profile. The zero
// value works. Filters handed out are shared and must not be changed.
type Cache struct {
	mu      sync.Mutex // guards the fields below; never held while compiling
	filters map[[sha256.Size]byte]*Filter
	order   [][sha256.Size]byte // oldest first
}

// Get returns the filter of a profile, compiled now or before. A nil profile
// gives nil, nil. Errors are those of Compile and are not remembered.
func (c *Cache) Get(s *specs.LinuxSeccomp) (*Filter, error) {
	if s == nil {
		return nil, nil
	}
	text, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("%w: encode: %w", ErrProfile, err)
	}
	key := sha256.Sum256(text)
	if f := c.lookup(key); f != nil {
		return f, nil
	}
	f, err := Compile(s)
	if err != nil {
		return nil, err
	}
	c.store(key, f)
	return f, nil
}

func (c *Cache) lookup(key [sha256.Size]byte) *Filter {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.filters[key]
}

func (c *Cache) store(key [sha256.Size]byte, f *Filter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.filters == nil {
		c.filters = make(map[[sha256.Size]byte]*Filter)
	}
	if _, ok := c.filters[key]; ok {
		return // another caller compiled the same profile meanwhile
	}
	if len(c.order) == cacheSize {
		delete(c.filters, c.order[0])
		c.order = c.order[1:]
	}
	c.filters[key] = f
	c.order = append(c.order, key)
}
