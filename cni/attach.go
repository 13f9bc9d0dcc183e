package cni

import (
	"context"
	"fmt"
	"time"

	"github.com/containernetworking/cni/libcni"
	cnitypes "github.com/containernetworking/cni/pkg/types"
)

// rollbackLimit bounds the DEL that follows a failed ADD, so that a request
// whose plugins hang ends soon after its own deadline.
const rollbackLimit = 15 * time.Second

// Attach runs ADD for a recorded attempt and returns the record with the
// result; the attempt itself is not changed. On an error it has run DEL once;
// when that failed too the error says so. The caller keeps the attempt and
// calls Detach until it succeeds.
func (n *Network) Attach(ctx context.Context, pod Pod, attempt *Attachment) (*Attachment, error) {
	if pod.ID != attempt.PodID {
		return nil, fmt.Errorf("attach pod %q: %w: the attempt is of pod %q", pod.ID, ErrInvalid, attempt.PodID)
	}
	list, rt, err := attempt.open()
	if err != nil {
		return nil, err
	}
	full, err := n.add(ctx, attempt, list, rt)
	if err == nil {
		return full, nil
	}
	err = fmt.Errorf("attach to network %q: %w", attempt.Network, err)
	if full == nil { // no result to hand to DEL
		full = attempt
	}
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(rollbackLimit, n.timeout))
	defer cancel()
	if again := n.del(undo, full); again != nil {
		err = fmt.Errorf("%w (and undoing it: %w)", err, again)
	}
	return nil, err
}

// add may return a record next to an error: the plugins did their work, but
// what they answered is of no use.
func (n *Network) add(ctx context.Context, attempt *Attachment, list *libcni.NetworkConfigList, rt *libcni.RuntimeConf) (*Attachment, error) {
	ctx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	var result cnitypes.Result
	var err error
	if attempt.Who == byNative {
		result, err = n.addNative(ctx, attempt, list)
	} else {
		result, err = n.calls(attempt.PodID).AddNetworkList(ctx, list, rt)
	}
	if err != nil {
		return nil, err
	}
	return attempt.with(result)
}
