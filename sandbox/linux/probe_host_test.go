package linux

import (
	"os"
	"testing"
)

// Where the tests of this room can run, so can containers.
func TestProbeHost(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for _, f := range ProbeNamespaces() {
		if f.Err != nil || !f.Needed {
			t.Errorf("%+v", f)
		}
	}
	dir := t.TempDir()
	if err := ProbeOverlay(dir); err != nil {
		t.Errorf("overlay: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := ProbeOverlay(dir + "/none"); err == nil {
		t.Error("an overlay in no directory")
	}
	t.Logf("layers one by one: %v; nf_tables: %v", ProbeLayersOneByOne(), ProbeNftables())
	d, err := DiskOf("/proc")
	if err != nil || d.Type != "0x9fa0" {
		t.Errorf("%+v, %v", d, err)
	}
	if d, err = DiskOf(dir); err != nil || d.Total == 0 || d.Free > d.Total || d.Readonly {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err = DiskOf(dir + "/none"); err == nil {
		t.Error("a file system of nothing")
	}
}
