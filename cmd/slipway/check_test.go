package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"slipway/conf"
	"slipway/sandbox/linux"
)

// goodHost is a host on which nothing is missing; its files are below a
// directory of the test.
func goodHost(t *testing.T) host {
	t.Helper()
	root := t.TempDir()
	for path, text := range map[string]string{
		"/var/lib/slipway/x":                                     "",
		"/run/slipway/x":                                         "",
		"/sys/fs/cgroup/cgroup.controllers":                      "cpuset cpu io memory hugetlb pids",
		"/sys/module/apparmor/parameters/enabled":                "Y",
		"/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "4",
		"/proc/swaps":                                            "Filename Type\n/dev/sda2 partition\n",
		"/sbin/apparmor_parser":                                  "#!",
		"/sbin/nft":                                              "#!",
		"/opt/cni/bin/bridge":                                    "#!",
		"/etc/slipway/certs.d/example.org/hosts.toml":            "",
	} {
		path = filepath.Join(root, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	ok := func() error { return nil }
	return host{
		root: root, path: []string{"/bin", "/sbin"},
		kernel: func() []linux.Feature {
			return []linux.Feature{{Name: "openat2", Needed: true}, {Name: "exit codes", Degraded: "an exit may be unknown"}}
		},
		namespaces: func() []linux.Feature { return []linux.Feature{{Name: "PID namespace", Needed: true}} },
		caps:       func() (linux.CapSet, error) { return 0b111, nil },
		lastCap:    func() int { return 2 },
		overlay:    func(string) error { return nil },
		oneByOne:   ok,
		users:      func(context.Context, string) error { return nil },
		nftables:   ok,
		readonly:   ok,
		disk: func(string) (linux.Disk, error) {
			return linux.Disk{Type: "ext4", Free: 60 << 30, Total: 100 << 30, FreeInodes: 1, Nodes: 2}, nil
		},
		cgroups: func(context.Context, string) (string, error) { return "v2, driver cgroupfs", nil },
		network: func(context.Context, conf.Config) (networkFound, error) {
			return networkFound{File: "10-net.conflist", Network: "net", CNIVersion: "1.1.0"}, nil
		},
		keeper:  func() (string, error) { return "/bin/slipway-keeper", nil },
		answers: func(string) error { return nil },
	}
}

func looked(t *testing.T, h host, c conf.Config) report {
	r := newReport(c)
	h.look(t.Context(), c, &r)
	return r
}

func (r report) find(name string) item {
	i := slices.IndexFunc(r.Items, func(i item) bool { return i.Name == name && i.State != stateOK })
	if i < 0 {
		i = slices.IndexFunc(r.Items, func(i item) bool { return i.Name == name })
	}
	if i < 0 {
		return item{}
	}
	return r.Items[i]
}

func TestCheckOfAGoodHost(t *testing.T) {
	r := looked(t, goodHost(t), conf.Default())
	if err := r.err(); err != nil {
		t.Error(err)
	}
	for _, i := range r.Items {
		if i.State != stateOK && i.Name != "SELinux" {
			t.Errorf("%+v", i)
		}
	}
	for name, want := range map[string]string{
		"root":          "/var/lib/slipway (ext4, 60 of 100 GiB free, 50% of inodes)",
		"groups":        "v2, driver cgroupfs",
		"AppArmor":      "/sbin/apparmor_parser",
		"configuration": "",
		"huge pages":    "2048kB (4)",
		"swap":          "1 in use",
		"registries":    "1 configured",
		"plugins":       "1 in /opt/cni/bin",
	} {
		if !slices.ContainsFunc(r.Items, func(i item) bool { return i.Name == name && strings.Contains(i.Detail, want) }) {
			t.Errorf("%s: %+v, want %q", name, r.find(name), want)
		}
	}
}

// Each thing that is not as it should be is told, with what follows from it;
// only what no pod can do without keeps pods from running.
func TestCheckFinds(t *testing.T) {
	no := errors.New("not here")
	fails := func() error { return no }
	for _, tt := range []struct {
		name, state, want string
		change            func(h *host, c *conf.Config)
	}{
		{"user", stateMissing, "user 1000", func(h *host, _ *conf.Config) { h.uid = 1000 }},
		{"configuration", stateMissing, "log_level", func(_ *host, c *conf.Config) { c.LogLevel = "loud" }},
		{"slipway-keeper", stateMissing, "not here", func(h *host, _ *conf.Config) { h.keeper = func() (string, error) { return "", no } }},
		{"daemon", stateAbsent, "not here", func(h *host, _ *conf.Config) { h.answers = func(string) error { return no } }},
		{"openat2", stateMissing, "not here", func(h *host, _ *conf.Config) {
			h.kernel = func() []linux.Feature { return []linux.Feature{{Name: "openat2", Needed: true, Err: no}} }
		}},
		{"exit codes", stateLimited, "an exit may be unknown", func(h *host, _ *conf.Config) {
			h.kernel = func() []linux.Feature {
				return []linux.Feature{{Name: "exit codes", Err: no, Degraded: "an exit may be unknown"}}
			}
		}},
		{"PID namespace", stateMissing, "not here", func(h *host, _ *conf.Config) {
			h.namespaces = func() []linux.Feature { return []linux.Feature{{Name: "PID namespace", Needed: true, Err: no}} }
		}},
		{"recursive read-only", stateLimited, "recursiveReadOnly", func(h *host, _ *conf.Config) { h.readonly = fails }},
		{"capabilities", stateLimited, "CAP_DAC_OVERRIDE", func(h *host, _ *conf.Config) {
			h.caps = func() (linux.CapSet, error) { return 0b101, nil }
		}},
		{"groups", stateMissing, "not here", func(h *host, _ *conf.Config) {
			h.cgroups = func(context.Context, string) (string, error) { return "v1", no }
		}},
		{"hugetlb", stateLimited, "huge pages", func(h *host, _ *conf.Config) {
			h.write("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids")
		}},
		{"state", stateMissing, "read-only", func(h *host, _ *conf.Config) {
			h.disk = func(string) (linux.Disk, error) { return linux.Disk{Readonly: true}, nil }
		}},
		{"root", stateLimited, "after a reboot", func(h *host, _ *conf.Config) {
			h.disk = func(string) (linux.Disk, error) { return linux.Disk{Type: "tmpfs", Free: 9 << 30}, nil }
		}},
		{"root", stateLimited, "make room", func(h *host, _ *conf.Config) {
			h.disk = func(string) (linux.Disk, error) { return linux.Disk{Type: "ext4", Free: 9 << 20}, nil }
		}},
		{"overlay on root", stateMissing, "ext4 or xfs", func(h *host, _ *conf.Config) { h.overlay = func(string) error { return no } }},
		{"user namespaces", stateLimited, "hostUsers", func(h *host, _ *conf.Config) { h.users = func(context.Context, string) error { return no } }},
		{"many layers", stateLimited, "6.8", func(h *host, _ *conf.Config) { h.oneByOne = fails }},
		{"quarantine", stateLimited, "2 in /var/lib/slipway/quarantine: a.1 b.2", func(h *host, _ *conf.Config) {
			h.write("/var/lib/slipway/quarantine/a.1", "")
			h.write("/var/lib/slipway/quarantine/b.2", "")
		}},
		{"quarantine", stateLimited, "1 in /var/lib/slipway/images/quarantine", func(h *host, _ *conf.Config) { h.write("/var/lib/slipway/images/quarantine/a.1", "") }},
		{"AppArmor", stateLimited, "install the package apparmor", func(h *host, _ *conf.Config) { h.path = nil }},
		{"AppArmor", stateAbsent, "off", func(h *host, _ *conf.Config) { h.write("/sys/module/apparmor/parameters/enabled", "N") }},
		{"SELinux", stateLimited, "no labels", func(h *host, _ *conf.Config) { h.write("/sys/fs/selinux/enforce", "0") }},
		{"configuration", stateLimited, "the node is not ready", func(h *host, _ *conf.Config) {
			h.network = func(context.Context, conf.Config) (networkFound, error) { return networkFound{}, no }
		}},
		{"bad file", stateLimited, "passed over", func(h *host, _ *conf.Config) {
			h.network = func(context.Context, conf.Config) (networkFound, error) {
				return networkFound{Bad: []string{"x.conf"}}, nil
			}
		}},
		{"nf_tables", stateLimited, "modprobe", func(h *host, _ *conf.Config) { h.nftables = fails }},
		{"tools", stateLimited, "neither nft nor iptables", func(h *host, _ *conf.Config) { h.path = nil }},
		{"swap", stateLimited, "swapaccount", func(h *host, _ *conf.Config) {
			if err := os.Remove(h.root + "/sys/fs/cgroup/cgroup.controllers"); err != nil {
				panic(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, c := goodHost(t), conf.Default()
			tt.change(&h, &c)
			r := looked(t, h, c)
			i := r.find(tt.name)
			if i.State != tt.state || !strings.Contains(i.Detail+i.Effect+i.Do, tt.want) {
				t.Errorf("%+v, want %s, %q", i, tt.state, tt.want)
			}
			if i.State == stateLimited && i.Effect == "" {
				t.Errorf("%+v: what does not work?", i)
			}
			if err := r.err(); (err != nil) != (tt.state == stateMissing) {
				t.Errorf("pods can run: %v", err)
			}
			if err := r.err(); err != nil && !strings.Contains(err.Error(), tt.name+": ") {
				t.Errorf("no reason: %v", err)
			}
			var table bytes.Buffer
			if err := r.writeTable(&table); err != nil || !strings.Contains(table.String(), tt.want) {
				t.Errorf("%v: the table lacks %q:\n%s", err, tt.want, table.String())
			}
			if strings.Contains(table.String(), "pods can run here") != (tt.state != stateMissing) {
				t.Errorf("the verdict of\n%s", table.String())
			}
		})
	}
}

// write makes a file of a fake host.
func (h host) write(path, text string) {
	if err := errors.Join(os.MkdirAll(filepath.Dir(h.root+path), 0o755), os.WriteFile(h.root+path, []byte(text), 0o755)); err != nil {
		panic(err)
	}
}

func TestCheckReasonsAreBounded(t *testing.T) {
	r := newReport(conf.Default())
	for i := range 9 {
		r.add(item{Name: fmt.Sprintf("n%d", i), State: stateMissing, Detail: "d"})
	}
	if err := r.err(); err == nil || !strings.HasSuffix(err.Error(), "; n4: d; and 4 more") || len(r.Reasons) != 9 {
		t.Error(err)
	}
}

func TestCheckTableIsPlain(t *testing.T) {
	r := report{Ready: true, Items: []item{{Area: "a", Name: "n", State: stateLimited, Detail: "x\n\x1b[31my", Effect: "e"}}}
	var b bytes.Buffer
	if err := r.writeTable(&b); err != nil || strings.ContainsAny(b.String(), "\x1b\r") || strings.Contains(b.String(), "x\n") {
		t.Errorf("%q", b.String())
	}
}

// On the machine itself: all is there but the keeper, which does not lie beside
// a test. Nothing stays behind.
func TestCheckCommand(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	args := []string{"check", "--json", "--root", root, "--state", filepath.Join(dir, "state"), "--config", writeConfig(t, "cgroup_driver = \"cgroupfs\"\n")}
	code, out, errs := typed(t.Context(), "", args...)
	var r report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if code != exitFailure || !strings.Contains(errs, "pods cannot run here: slipway-keeper: ") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if len(r.Reasons) != 1 || r.Ready || r.Version != version || r.Kernel == "unknown" || len(r.Items) < 40 {
		t.Errorf("%s", out)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if _, table, _ := typed(t.Context(), "", slices.Delete(args, 1, 2)...); !strings.Contains(table, "! missing   slipway-keeper") {
		t.Errorf("the table:\n%s", table)
	}
	if code, _, errs := typed(t.Context(), "", "check", "all"); code != exitUsage {
		t.Errorf("exit %d: %s", code, errs)
	}
}
