package native

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func sets(t *testing.T, text string) ([]rangeSet, error) {
	t.Helper()
	var conf [][]rangeConf
	if err := json.Unmarshal([]byte(text), &conf); err != nil {
		t.Fatal(err)
	}
	return newRangeSets(conf)
}

func TestRangesThatCannotBe(t *testing.T) {
	for text, want := range map[string]string{
		`[]`:                            "no address ranges",
		`[[]]`:                          "empty",
		`[[{"rangeStart":"10.0.0.1"}]]`: "without a subnet",
		`[[{"subnet":"10.0.0.0/31"}]]`:  "too small",
		`[[{"subnet":"10.0.0.1/24"}]]`:  "host bits",
		`[[{"subnet":"10.0.0.0/24","rangeStart":"10.0.1.1"}]]`:                             "not in",
		`[[{"subnet":"10.0.0.0/24","rangeEnd":"10.0.1.1"}]]`:                               "not in",
		`[[{"subnet":"10.0.0.0/24","rangeStart":"10.0.0.9","rangeEnd":"10.0.0.8"}]]`:       "after",
		`[[{"subnet":"10.0.0.0/24"},{"subnet":"fd00::/64"}]]`:                              "mixed",
		`[[{"subnet":"10.0.0.0/24"},{"subnet":"10.0.0.0/25"}]]`:                            "overlap",
		`[[{"subnet":"10.0.0.0/24"}],[{"subnet":"fd00::/64"}],[{"subnet":"10.0.0.0/16"}]]`: "range set 0 overlaps with 2",
	} {
		if _, err := sets(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// The order in which addresses are tried is the reference's: after the last
// one, across the ranges of a set, round to it, gateways left out.
func TestWalk(t *testing.T) {
	for _, tt := range []struct{ ranges, last, want string }{
		{`[[{"subnet":"10.0.0.0/29"}]]`, "", "2 3 4 5 6"},
		{`[[{"subnet":"10.0.0.0/29"}]]`, "10.0.0.4", "5 6 2 3 4"},
		{`[[{"subnet":"10.0.0.0/29"}]]`, "10.0.0.6", "2 3 4 5 6"},
		{`[[{"subnet":"10.0.0.0/29"}]]`, "10.9.9.9", "2 3 4 5 6"},
		{`[[{"subnet":"10.0.0.0/29","gateway":"10.0.0.4"}]]`, "", "1 2 3 5 6"},
		{`[[{"subnet":"10.0.0.0/29","rangeStart":"10.0.0.5"},{"subnet":"10.0.0.8/29","rangeEnd":"10.0.0.10"}]]`, "10.0.0.6", "10 5 6"},
		{`[[{"subnet":"10.0.0.0/29","rangeStart":"10.0.0.1","rangeEnd":"10.0.0.1"}]]`, "", ""},
	} {
		all, err := sets(t, tt.ranges)
		if err != nil {
			t.Fatal(err)
		}
		last, _ := netip.ParseAddr(tt.last)
		var got []string
		done, err := all[0].walk(last, func(a netip.Addr, _ addrRange) (bool, error) {
			got = append(got, fmt.Sprint(a.AsSlice()[3]))
			return false, nil
		})
		if text := strings.Join(got, " "); done || err != nil || text != tt.want {
			t.Errorf("%s after %q: %s (%v, %v), want %s", tt.ranges, tt.last, text, done, err, tt.want)
		}
	}
}

func newHostLocal(t *testing.T, ranges string) (*hostLocal, *Network) {
	t.Helper()
	h, err := parseHostLocal("net", fmt.Appendf(nil, `{"type":"host-local","dataDir":%q,"ranges":%s}`, t.TempDir(), ranges))
	if err != nil {
		t.Fatal(err)
	}
	return h, &Network{}
}

func TestFilesOfAddresses(t *testing.T) {
	h, n := newHostLocal(t, `[[{"subnet":"10.0.0.0/29"}],[{"subnet":"fd00::/64"}]]`)
	if _, err := h.allocate(t.Context(), n, "a", "eth0"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"10.0.0.2": "a\r\neth0", "fd00::2": "a\r\neth0", "last_reserved_ip.0": "10.0.0.2", "last_reserved_ip.1": "fd00::2", "lock": "",
	} {
		if got, err := os.ReadFile(filepath.Join(h.dir, name)); err != nil || string(got) != want {
			t.Errorf("%s holds %q (%v), want %q", name, got, err, want)
		}
	}
	if _, err := h.allocate(t.Context(), n, "a", "eth0"); err == nil {
		t.Error("a pod got an address twice")
	}
	// Neither of these is the pod's, and one of them looks like it.
	for _, id := range []string{"b", "aa"} {
		if err := h.free(t.Context(), n, id, "eth0", []netip.Addr{netip.MustParseAddr("10.0.0.2")}); err != nil {
			t.Error(err)
		}
	}
	if err := h.holds(t.Context(), n, "a", "eth0"); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := h.free(t.Context(), n, "a", "eth0", nil); err != nil {
			t.Error(err)
		}
	}
	if err := h.holds(t.Context(), n, "a", "eth0"); err == nil {
		t.Error("the addresses are still taken")
	}
}

// When one set has no address left, those of the others are given back.
func TestUsedUpPool(t *testing.T) {
	h, n := newHostLocal(t, `[[{"subnet":"10.0.0.0/24"}],[{"subnet":"10.1.0.0/30"}]]`)
	if _, err := h.allocate(t.Context(), n, "a", "eth0"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.allocate(t.Context(), n, "b", "eth0"); err == nil || !strings.Contains(err.Error(), "range set 1: no address is free in 10.1.0.1-10.1.0.2") {
		t.Errorf("%v", err)
	}
	if err := h.holds(t.Context(), n, "b", "eth0"); err == nil {
		t.Error("an address of the other set is still taken")
	}
	// The file of an old version, without an interface, is known too.
	if err := os.WriteFile(filepath.Join(h.dir, "10.0.0.77"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.free(t.Context(), n, "old", "eth0", nil); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(h.dir, "10.0.0.77")); err == nil {
		t.Error("the old file is still there")
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte{8, 0, 3, 0, 1, 2, 3, 4})
	f.Add(userData("hello"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		newFound(b)
		commentOf(b)
	})
}
