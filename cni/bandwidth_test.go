package cni

import "testing"

func TestQuantity(t *testing.T) {
	for text, want := range map[string]string{
		"10M": "10000000", "1k": "1000", "1Ki": "1024", "1.5Mi": "1572864", "2e6": "2000000", "1E3": "1000",
		"0.5": "1", "1500m": "2", "1P": "1000000000000000", "+7": "7", "-7": "-7", "5.": "5", ".5G": "500000000",
		"3E": "3000000000000000000", "1n": "1", "1000000u": "1", "1Ei": "1152921504606846976",
	} {
		got, ok := quantity(text)
		if !ok || got.String() != want {
			t.Errorf("%q: %v %v, want %s", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "M", "10 M", "10MB", "1e", "1e999", "0x10", "1_000", "ten", "1;2", "."} {
		if got, ok := quantity(text); ok {
			t.Errorf("%q: %v, want none", text, got)
		}
	}
}

func TestBandwidthRange(t *testing.T) {
	for text, ok := range map[string]bool{"1k": true, "999": false, "1P": true, "1001T": false, "-1M": false, "99E": false} {
		_, err := bandwidthOf(map[string]string{ingressAnnotation: text})
		if (err == nil) != ok {
			t.Errorf("%q: %v, want ok: %v", text, err, ok)
		}
	}
}
