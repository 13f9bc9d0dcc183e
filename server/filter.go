package server

import (
	"fmt"
	"strings"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/sandbox"
)

// A filter's parts must all match; an absent part matches everything. An id
// may be the beginning of one.

// knownState refuses a state that the CRI does not have: nothing would match.
func knownState[T ~int32](states map[int32]string, asked bool, state T) error {
	if _, ok := states[int32(state)]; asked && !ok {
		return fmt.Errorf("filter: unknown state %d: %w", state, sandbox.ErrInvalid)
	}
	return nil
}

func podFilter(f *cri.PodSandboxFilter) (func(*sandbox.Pod) bool, error) {
	return func(p *sandbox.Pod) bool {
		return strings.HasPrefix(p.ID, f.GetId()) &&
			(f.GetState() == nil || f.GetState().GetState() == podState(p)) &&
			labelsMatch(f.GetLabelSelector(), p.Config.GetLabels())
	}, knownState(cri.PodSandboxState_name, f.GetState() != nil, f.GetState().GetState())
}

func containerFilter(f *cri.ContainerFilter) (func(*sandbox.Container) bool, error) {
	return func(c *sandbox.Container) bool {
		return strings.HasPrefix(c.ID, f.GetId()) &&
			strings.HasPrefix(c.PodID, f.GetPodSandboxId()) &&
			(f.GetState() == nil || f.GetState().GetState() == containerState(c)) &&
			labelsMatch(f.GetLabelSelector(), c.Config.GetLabels())
	}, knownState(cri.ContainerState_name, f.GetState() != nil, f.GetState().GetState())
}

// statsMatches is containerFilter for what statistics can be asked by.
func statsMatches(f *cri.ContainerStatsFilter, c *sandbox.Container) bool {
	return strings.HasPrefix(c.ID, f.GetId()) &&
		strings.HasPrefix(c.PodID, f.GetPodSandboxId()) &&
		labelsMatch(f.GetLabelSelector(), c.Config.GetLabels())
}

// labelsMatch reports whether labels hold every pair of selector.
func labelsMatch(selector, labels map[string]string) bool {
	for key, want := range selector {
		if got, ok := labels[key]; !ok || got != want {
			return false
		}
	}
	return true
}
