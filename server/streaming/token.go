package streaming

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"sync"
	"time"
)

// What a URL is for; also its path.
const (
	kindExec    = "exec"
	kindAttach  = "attach"
	kindForward = "portforward"
)

// entry is what a token stands for.
type entry struct {
	kind  string
	owner string

	want    Want
	run     Run
	ports   []int32
	forward Forward

	expires time.Time
}

// tokenBytes are 128 bits: nobody guesses one in half a minute.
const tokenBytes = 16

// missesPerSecond are answered 404; more are 429. That is for whoever reads a
// log: a guess is hopeless anyway.
const missesPerSecond = 10

// table holds the tokens that have not been used, by their digests: how long a
// look-up takes says nothing about a token that is in there.
type table struct {
	o Options

	mu      sync.Mutex // guards the fields below
	entries map[[sha256.Size]byte]*entry
	owners  map[string]int // unused tokens and sessions
	total   int
	misses  int
	second  time.Time // misses are counted since
}

func (t *table) init(o Options) {
	t.o = o
	t.entries = map[[sha256.Size]byte]*entry{}
	t.owners = map[string]int{}
}

// insert makes a token. It must not be written anywhere but into the answer.
func (t *table) insert(e *entry) (token string, err error) {
	var b [tokenBytes]byte
	_, _ = rand.Read(b[:]) // never fails
	token = base64.RawURLEncoding.EncodeToString(b[:])
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for k, old := range t.entries {
		if now.After(old.expires) {
			delete(t.entries, k)
			t.less(old.owner)
		}
	}
	if t.total >= t.o.Max {
		return "", fmt.Errorf("%w: %d, unused URLs included", ErrTooMany, t.total)
	}
	if n := t.owners[e.owner]; n >= t.o.MaxOwner {
		return "", fmt.Errorf("%w: %d of %q, unused URLs included", ErrTooMany, n, e.owner)
	}
	t.total++
	t.owners[e.owner]++
	e.expires = now.Add(t.o.Token)
	t.entries[sha256.Sum256([]byte(token))] = e
	return token, nil
}

// take gives what a token stands for, once. The caller gives the place back
// with done. limited: there were too many misses in this second.
func (t *table) take(kind, token string) (e *entry, limited bool) {
	k := sha256.Sum256([]byte(token))
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	e = t.entries[k]
	if e != nil && e.kind == kind && now.Before(e.expires) {
		delete(t.entries, k)
		return e, false
	}
	if now.Sub(t.second) > time.Second {
		t.second, t.misses = now, 0
	}
	t.misses++
	return nil, t.misses > missesPerSecond
}

// done gives the place of a session back.
func (t *table) done(e *entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.less(e.owner)
}

// less counts one down. Under mu.
func (t *table) less(owner string) {
	t.total--
	if t.owners[owner]--; t.owners[owner] == 0 {
		delete(t.owners, owner)
	}
}
