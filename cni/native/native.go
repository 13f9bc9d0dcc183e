package native

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	cnitypes "github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// ErrUnsupported says that a list of plugins asks for something that only the
// plugin programs can do.
var ErrUnsupported = errors.New("not done natively")

// Network does the plugins' work in the network namespace in which it was
// opened, the host's. All methods may be called at the same time.
type Network struct {
	log    *slog.Logger
	home   *os.File // the host's network namespace
	pools  pools
	known  gateways
	rules  ruleSockets
	reaper *reaper
}

// Pod says who is attached: what the plugins get in their environment and in
// runtimeConfig.
type Pod struct {
	ID           string // CNI_CONTAINERID
	NetNS        string // CNI_NETNS; empty for Del: it is gone
	IfName       string // CNI_IFNAME
	Capabilities map[string]json.RawMessage
}

// New opens the network of this process's namespace. Close ends it.
func New(log *slog.Logger) (*Network, error) {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("own network namespace: %w", err)
	}
	return &Network{log: log, home: home, reaper: newReaper(log)}, nil
}

// Close ends what runs in the background. Calls that are under way go on, and
// the namespace stays open for them.
func (n *Network) Close() error {
	n.reaper.close()
	n.rules.close()
	return nil
}

// Add does ADD of the whole list and returns the result in the list's version.
// On an error some of it may be done; the caller calls Del.
func (n *Network) Add(ctx context.Context, p *Plan, pod Pod) (cnitypes.Result, error) {
	if p.invalid != nil {
		return nil, p.invalid
	}
	c := &call{net: n, name: p.name, pod: pod}
	for _, s := range p.steps {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := s.add(ctx, c); err != nil {
			return nil, fmt.Errorf("plugin %q: %w", s.name(), err)
		}
	}
	return c.result.GetAsVersion(p.version)
}

// Del does DEL of the whole list, in reverse, and stops at the first step that
// fails. prev is ADD's result, or nil when that is unknown. What is not there
// is not an error. pod.NetNS is empty when the namespace is gone.
func (n *Network) Del(ctx context.Context, p *Plan, pod Pod, prev cnitypes.Result) error {
	if p.invalid != nil {
		return nil // then ADD has done nothing
	}
	c := &call{net: n, name: p.name, pod: pod}
	if prev != nil {
		r, err := types100.NewResultFromResult(prev)
		if err != nil {
			n.log.Warn("network result unreadable, DEL goes without", "pod", pod.ID, "error", err)
		}
		c.result = r
	}
	for i := len(p.steps) - 1; i >= 0; i-- {
		if err := p.steps[i].del(ctx, c); err != nil {
			return fmt.Errorf("plugin %q: %w", p.steps[i].name(), err)
		}
	}
	return nil
}

// Check does CHECK of the whole list: whether what ADD made is still there.
func (n *Network) Check(ctx context.Context, p *Plan, pod Pod, prev cnitypes.Result) error {
	if p.invalid != nil {
		return p.invalid
	}
	r, err := types100.NewResultFromResult(prev)
	if err != nil {
		return fmt.Errorf("result: %w", err)
	}
	c := &call{net: n, name: p.name, pod: pod, result: r}
	for _, s := range p.steps {
		if err := s.check(ctx, c); err != nil {
			return fmt.Errorf("plugin %q: %w", s.name(), err)
		}
	}
	return nil
}

// call is one ADD, DEL or CHECK on its way through the steps.
type call struct {
	net    *Network
	name   string // the network's
	pod    Pod
	result *types100.Result // what ADD has so far; for the others, what ADD returned
}

// step is one plugin of a list.
type step interface {
	name() string
	add(context.Context, *call) error
	del(context.Context, *call) error
	check(context.Context, *call) error
}

// pools hold one turn for each directory of host-local, so that threads do not
// queue in flock.
type pools struct {
	mu    sync.Mutex // guards turns; never over I/O
	turns map[string]chan struct{}
}

func (p *pools) turn(dir string) chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.turns == nil {
		p.turns = map[string]chan struct{}{}
	}
	t := p.turns[dir]
	if t == nil {
		t = make(chan struct{}, 1)
		p.turns[dir] = t
	}
	return t
}
