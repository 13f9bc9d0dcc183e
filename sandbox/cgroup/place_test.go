package cgroup

import (
	"errors"
	"path"
	"strings"
	"testing"
)

// TestParents: both syntaxes under both drivers. want is the path of the leaf of
// "id"; "" = refused.
func TestParents(t *testing.T) {
	for _, c := range []struct{ driver, parent, want string }{
		{Cgroupfs, "/kubepods/burstable/pod1", "/kubepods/burstable/pod1/id"},
		{Cgroupfs, "kubepods/pod1", "/kubepods/pod1/id"},
		{Cgroupfs, "/slipway", "/slipway/id"},
		{Cgroupfs, "/system.slice/mine", "/system.slice/mine/id"}, // a group of somebody's in a slice
		{Cgroupfs, "/a-b", "/a-b/id"},
		{Cgroupfs, "kubepods-besteffort-pod1.slice", ""},
		{Cgroupfs, "/kubepods.slice/kubepods-pod1.slice", ""},

		{Systemd, "kubepods-besteffort-pod1_2.slice", "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1_2.slice/slipway-id.scope"},
		{Systemd, "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice", "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/slipway-id.scope"},
		{Systemd, "system.slice", "/system.slice/slipway-id.scope"},
		{Systemd, "/system.slice", "/system.slice/slipway-id.scope"},
		{Systemd, "-.slice", "/slipway-id.scope"},
		{Systemd, "/kubepods/burstable/pod1", ""},
		{Systemd, "/slipway", ""},
		{Systemd, "/elsewhere.slice/kubepods-pod1.slice", ""}, // not where systemd keeps it
		{Systemd, "a--b.slice", ""},
		{Systemd, "-a.slice", ""},
		{Systemd, ".slice", ""},
		{Systemd, "a b.slice", ""},
		{Systemd, "a\nb.slice", ""},
	} {
		err := CheckParent(c.driver, c.parent)
		if c.want == "" {
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), path.Base(c.parent)) && !strings.Contains(c.parent, "\n") {
				t.Errorf("%s, %q: %v, want a refusal that names it", c.driver, c.parent, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s, %q: %v", c.driver, c.parent, err)
			continue
		}
		got := Place(c.parent, "id")
		if got != c.want {
			t.Errorf("%s, %q: leaf %q, want %q", c.driver, c.parent, got, c.want)
		}
		if _, _, err := parsePath(got); err != nil {
			t.Errorf("%s, %q: %v", c.driver, c.parent, err)
		}
		if !Names(got, "id") || Names(got, "d") || Names(got, "") {
			t.Errorf("%q: not the leaf of its id alone", got)
		}
		unit, slice, ok := scopeOf(got)
		if ok != (c.driver == Systemd) || ok && (unit != "slipway-id.scope" || slice != path.Base(c.parent)) {
			t.Errorf("%q: unit %q in %q, %v", got, unit, slice, ok)
		}
	}
}

func TestSliceOf(t *testing.T) {
	for p, want := range map[string]string{
		"/slipway": "slipway.slice", "/a/b": "a-b.slice", "/my-pods/x": "my_pods-x.slice",
		"kubepods.slice": "kubepods.slice", "/": ".slice",
	} {
		if got := SliceOf(p); got != want {
			t.Errorf("%q: %q, want %q", p, got, want)
		}
	}
}
