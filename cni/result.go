package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	cnitypes "github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// checkResult refuses what libcni would fall over: output that is no JSON
// object, and null inside a list, which its conversions dereference.
func checkResult(stdout []byte) error {
	var top map[string]any
	if err := json.Unmarshal(stdout, &top); err != nil {
		return fmt.Errorf("result is not a JSON object: %w: %q", err, clean(stdout, 200))
	}
	if top == nil {
		return errors.New("result is null")
	}
	if hasNullElement(top) {
		return fmt.Errorf("result has null in a list: %q", clean(stdout, 200))
	}
	return nil
}

func hasNullElement(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			if hasNullElement(e) {
				return true
			}
		}
	case []any:
		for _, e := range v {
			if e == nil || hasNullElement(e) {
				return true
			}
		}
	}
	return false
}

// addresses returns the addresses of the pod's interface in the order of the
// result. An address without an interface is taken for the pod's, as older
// plugins name none. A pod without any address is an error: the kubelet would
// make it again and again.
func addresses(result cnitypes.Result, ifName string) ([]netip.Addr, error) {
	r, err := types100.NewResultFromResult(result)
	if err != nil {
		return nil, fmt.Errorf("result: %w", err)
	}
	var out []netip.Addr
	for _, c := range r.IPs {
		if c.Interface != nil {
			i := *c.Interface
			if i < 0 || i >= len(r.Interfaces) {
				return nil, fmt.Errorf("result: address %s is of interface %d of %d", c.Address.IP, i, len(r.Interfaces))
			}
			if r.Interfaces[i].Name != ifName {
				continue
			}
		}
		addr, ok := netip.AddrFromSlice(c.Address.IP)
		if addr = addr.Unmap(); !ok || addr.IsUnspecified() || addr.IsMulticast() || addr.IsLoopback() {
			return nil, fmt.Errorf("result: %q cannot be the address of a pod", c.Address.IP)
		}
		if !slices.Contains(out, addr) {
			out = append(out, addr)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("result: no address for %s", ifName)
	}
	return out, nil
}
