package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"slipway/oci"
)

func TestHandlers(t *testing.T) {
	profile := filepath.Join(t.TempDir(), "p.json")
	if err := os.WriteFile(profile, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	all := []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Hard: 1}}
	p := &Pods{o: Options{
		Host: oci.Host{Ulimits: all, AppArmor: &oci.AppArmor{Missing: errors.New("no parser")}},
		Handlers: map[string]Handler{
			"empty":  {},
			"strict": {WithoutDevices: true, AnyDevice: true, SeccompProfile: profile, AppArmorProfile: "mine", Ulimits: []specs.POSIXRlimit{}},
			"gone":   {SeccompProfile: filepath.Join(t.TempDir(), "none")},
			"dir":    {SeccompProfile: t.TempDir()},
		},
	}}
	for _, name := range []string{"", "empty"} {
		h, err := p.hostOf(&pod{handler: name})
		if err != nil || h.WithoutDevices || h.AnyDevice || h.RuntimeDefault != nil || len(h.Ulimits) != 1 || h.AppArmor.Default != "" {
			t.Errorf("%q: %+v, %v", name, h, err)
		}
	}
	h, err := p.hostOf(&pod{handler: "strict"})
	if err != nil || !h.WithoutDevices || !h.AnyDevice || len(h.Ulimits) != 0 || h.AppArmor.Default != "mine" || h.AppArmor.Missing != nil {
		t.Errorf("%+v, %v", h, err)
	}
	if text, err := h.RuntimeDefault(); string(text) != "{}" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	if p.o.Host.AppArmor.Default != "" {
		t.Error("the host itself has changed")
	}
	for _, name := range []string{"gone", "dir"} {
		if h, err = p.hostOf(&pod{handler: name}); err != nil {
			t.Error(err)
		} else if _, err := h.RuntimeDefault(); err == nil {
			t.Errorf("%q: a profile", name)
		}
	}
	for _, name := range []string{"nope", "strict "} { // "nope": also a pod whose handler was taken away
		_, err := p.hostOf(&pod{handler: name})
		want := `no runtime for "` + name + `" is configured: there are "dir", "empty", "gone", "strict"`
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	p.o.Host.AppArmor = nil
	if _, err := p.hostOf(&pod{handler: "strict"}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), `"mine"`) {
		t.Errorf("a profile without AppArmor: %v", err)
	}
	p.o.Handlers = nil
	if err := p.checkHandler("kata"); err == nil || !strings.Contains(err.Error(), `there are none but the default, ""`) {
		t.Error(err)
	}
}
