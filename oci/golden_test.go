package oci

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/encoding/protojson"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// goldenInput is what a testdata/*.in.json holds; the CRI parts are protojson.
type goldenInput struct {
	Pod, Container json.RawMessage
	Image          ImageConfig
	Passwd, Group  string
	Seccomp        json.RawMessage
	Volumes        []Volume
	Namespaces     map[specs.LinuxNamespaceType]string
}

// testHost is a host that can do everything but hold CAP_SYS_RESOURCE.
func testHost() Host {
	var caps []string
	for _, c := range allCapabilities {
		if c != "CAP_SYS_RESOURCE" {
			caps = append(caps, c)
		}
	}
	mode := os.FileMode(0o660)
	id := uint32(0)
	device := func(p string, major, minor int64) specs.LinuxDevice {
		return specs.LinuxDevice{Path: p, Type: "c", Major: major, Minor: minor, FileMode: &mode, UID: &id, GID: &id}
	}
	all := []specs.LinuxDevice{
		device("/dev/fuse", 10, 229), device("/dev/kvm", 10, 232), device("/dev/null", 1, 3),
		device("/dev/snd/seq", 116, 1), device("/dev/snd/timer", 116, 33), device("/dev/pts/0", 136, 0),
	}
	return Host{
		Arch: "amd64", Capabilities: caps, Devices: all, Seccomp: true, RecursiveReadonly: true, SwapLimit: true, Hugetlb: true,
		ListDevices: func(p string) (out []specs.LinuxDevice, _ error) {
			for _, d := range all {
				if below(d.Path, p) {
					out = append(out, d)
				}
			}
			return out, nil
		},
	}
}

func podFiles() []BindFile {
	var out []BindFile
	for _, f := range []string{"/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/dev/shm"} {
		out = append(out, BindFile{Source: "/run/slipway/pods/p1/" + filepath.Base(f), Destination: f})
	}
	return out
}

func loadInput(t *testing.T, file string) ContainerInput {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var g goldenInput
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&g); err != nil {
		t.Fatal(err)
	}
	in := ContainerInput{
		ID: "c1", PodID: "p1", Pod: &runtimeapi.PodSandboxConfig{}, Container: &runtimeapi.ContainerConfig{},
		Image: g.Image, Host: testHost(), CgroupsPath: "/slipway/c1", Namespaces: g.Namespaces,
		Files: podFiles(), Volumes: g.Volumes, Seccomp: g.Seccomp,
	}
	if err := protojson.Unmarshal(g.Pod, in.Pod); err != nil {
		t.Fatal(err)
	}
	if err := protojson.Unmarshal(g.Container, in.Container); err != nil {
		t.Fatal(err)
	}
	in.Hostname = in.Pod.GetHostname()
	req, err := UserOf(in.Container, in.Image)
	if err != nil {
		t.Fatal(err)
	}
	if in.User, err = LookupUser(strings.NewReader(g.Passwd), strings.NewReader(g.Group), req); err != nil {
		t.Fatal(err)
	}
	return in
}

// TestGolden compares the spec of each testdata/*.in.json with the config.json
// beside it; go test -update rewrites those.
func TestGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.in.json")
	if err != nil || len(inputs) == 0 {
		t.Fatal("no golden files", err)
	}
	for _, file := range inputs {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".in.json"), func(t *testing.T) {
			spec, err := Container(loadInput(t, file))
			if err != nil {
				t.Fatal(err)
			}
			compareGolden(t, strings.TrimSuffix(file, ".in.json")+".config.json", spec)
		})
	}
}

func compareGolden(t *testing.T, file string, spec *specs.Spec) {
	t.Helper()
	if s := spec.Linux.Seccomp; s != nil && len(s.Syscalls) > 5 {
		// The default profile has 400 names; its content has tests of its own.
		spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: s.DefaultAction, Architectures: s.Architectures}
	}
	got, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}
