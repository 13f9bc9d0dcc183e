package cni

import (
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
)

// bandwidth is the capability of that name; rates in bit/s, bursts in bit.
type bandwidth struct {
	IngressRate  uint64 `json:"ingressRate,omitempty"`
	IngressBurst uint64 `json:"ingressBurst,omitempty"`
	EgressRate   uint64 `json:"egressRate,omitempty"`
	EgressBurst  uint64 `json:"egressBurst,omitempty"`
}

const (
	ingressAnnotation = "kubernetes.io/ingress-bandwidth"
	egressAnnotation  = "kubernetes.io/egress-bandwidth"

	rateMin = 1_000                 // 1k
	rateMax = 1_000_000_000_000_000 // 1P
)

// bandwidthOf reads the two annotations; nil when neither is there. The burst
// is as wide as the plugin takes, as with every other runtime.
func bandwidthOf(annotations map[string]string) (*bandwidth, error) {
	in, hasIn := annotations[ingressAnnotation]
	out, hasOut := annotations[egressAnnotation]
	if !hasIn && !hasOut {
		return nil, nil
	}
	b := &bandwidth{}
	var err error
	if hasIn {
		if b.IngressRate, err = rate(ingressAnnotation, in); err != nil {
			return nil, err
		}
		b.IngressBurst = math.MaxUint32
	}
	if hasOut {
		if b.EgressRate, err = rate(egressAnnotation, out); err != nil {
			return nil, err
		}
		b.EgressBurst = math.MaxUint32
	}
	return b, nil
}

func rate(key, text string) (uint64, error) {
	v, ok := quantity(text)
	if !ok {
		return 0, fmt.Errorf("annotation %s=%q: %w: not a quantity such as 10M", key, text, ErrInvalid)
	}
	if !v.IsUint64() || v.Uint64() < rateMin || v.Uint64() > rateMax {
		return 0, fmt.Errorf("annotation %s=%q: %w: want 1k to 1P", key, text, ErrInvalid)
	}
	return v.Uint64(), nil
}

var quantityForm = regexp.MustCompile(`^([+-]?(?:[0-9]{1,32}(?:\.[0-9]{0,32})?|\.[0-9]{1,32}))(?:([eE][+-]?[0-9]{1,2})|(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei))?$`)

// quantity reads a Kubernetes quantity and rounds it up to an integer.
func quantity(text string) (*big.Int, bool) {
	m := quantityForm.FindStringSubmatch(text)
	if m == nil {
		return nil, false
	}
	v, ok := new(big.Rat).SetString(m[1])
	if !ok {
		return nil, false
	}
	ten, power := int64(10), 0
	switch suffix := m[3]; {
	case m[2] != "":
		power, _ = strconv.Atoi(m[2][1:])
	case len(suffix) == 2:
		ten, power = 1024, 1+indexOf("KMGTPE", suffix[0])
	case suffix != "":
		power = 3 * (indexOf("num_kMGTPE", suffix[0]) - 3)
	}
	scale := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(ten), big.NewInt(int64(abs(power))), nil))
	if power < 0 {
		scale.Inv(scale)
	}
	v.Mul(v, scale)
	whole, rest := new(big.Int).QuoRem(v.Num(), v.Denom(), new(big.Int))
	if rest.Sign() > 0 {
		whole.Add(whole, big.NewInt(1))
	}
	return whole, true
}

func indexOf(set string, c byte) int {
	for i := range len(set) {
		if set[i] == c {
			return i
		}
	}
	return -1
}

func abs(n int) int { return max(n, -n) }
