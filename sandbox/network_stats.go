package sandbox

import (
	"fmt"
	"os"
	"slices"
	"time"

	"slipway/sandbox/linux"
)

// NetworkStats is what went through a pod's network interfaces, lo left out.
type NetworkStats struct {
	At         time.Time
	Interfaces []linux.Interface // the one of the pod's addresses first
}

// defaultInterface is the one that a CNI plugin is told to make.
const defaultInterface = "eth0"

// networkStats reads the counters from inside the pod's network namespace, by a
// file that is kept open: no thread goes there but the first time, and nothing
// is asked of a process of the pod. nil: it has no network of its own.
func (p *Pods) networkStats(s *pod) (*NetworkStats, error) {
	if s.hostNetwork() {
		return nil, nil // the host's counters are not the pod's
	}
	f, err := s.gauge.interfaces.get(func() (*os.File, error) { return openInterfaces(s) })
	if err != nil {
		return nil, err
	}
	at := time.Now()
	all, err := linux.ReadInterfaces(f)
	if err != nil {
		return nil, fmt.Errorf("network interfaces: %w", err)
	}
	return &NetworkStats{At: at, Interfaces: order(all)}, nil
}

// order puts the default interface first and leaves lo out.
func order(all []linux.Interface) []linux.Interface {
	all = slices.DeleteFunc(all, func(i linux.Interface) bool { return i.Name == "lo" })
	slices.SortStableFunc(all, func(a, b linux.Interface) int {
		switch {
		case a.Name == b.Name:
			return 0
		case a.Name == defaultInterface:
			return -1
		case b.Name == defaultInterface:
			return 1
		}
		return 0
	})
	return all
}

func openInterfaces(s *pod) (*os.File, error) {
	fd, err := s.borrowNetwork()
	if err != nil {
		return nil, err
	}
	defer linux.Close(fd)
	return linux.OpenInterfaces(fd)
}
