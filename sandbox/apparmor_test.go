package sandbox

import (
	"os"
	"strings"
	"testing"
)

func TestHasProfile(t *testing.T) {
	const list = "slipway-default (enforce)\n/usr/bin/man (enforce)\nwith space (complain)\n"
	for name, want := range map[string]bool{
		"slipway-default": true,
		"with space":      true,
		"/usr/bin/man":    true,
		"slipway":         false,
		"with":            false,
		"space":           false,
		"":                false,
	} {
		if got := hasProfile(list, name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

// A name in the profile that is not the one that containers get would confine nobody.
func TestDefaultProfile(t *testing.T) {
	if !strings.Contains(defaultProfile, "\nprofile "+defaultProfileName+" ") || strings.Contains(defaultProfile, "#include") {
		t.Error(defaultProfile)
	}
	b, _ := os.ReadFile(appArmorEnabled)
	has := strings.HasPrefix(string(b), "Y")
	a, err := ProbeAppArmor(t.Context())
	if !has {
		if a != nil || err != nil {
			t.Errorf("without AppArmor: %v, %v", a, err)
		}
		t.Skip("this host has no AppArmor")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if err != nil {
		t.Fatal(err)
	}
	if a.Default != defaultProfileName || !a.Loaded(defaultProfileName) || a.Loaded("no-such-profile") {
		t.Errorf("%+v", a)
	}
}
