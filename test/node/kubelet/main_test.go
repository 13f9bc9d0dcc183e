package kubelet

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"slipway/test/node"
)

// lab is the private machine that all tests of this package run on; nil without
// a kubelet.
var lab *node.Lab

// address is the node's.
const address = "10.203.255.1"

func TestMain(m *testing.M) {
	if os.Getenv("SLIPWAY_KUBELET") == "" {
		os.Exit(m.Run())
	}
	os.Exit(node.Run(func(l *node.Lab) int {
		if err := prepare(l.Machine.Dir); err != nil {
			fmt.Fprintln(os.Stderr, "prepare the machine:", err)
			return 1
		}
		lab = l
		return m.Run()
	}))
}

// prepare makes the machine one that a kubelet starts on.
func prepare(dir string) error {
	for name, value := range map[string]string{
		"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
		"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
	} {
		file := filepath.Join(dir, "sysctl-"+strings.ReplaceAll(name, "/", "-"))
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := syscall.Mount(file, "/proc/sys/"+name, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("cover %s: %w", name, err)
		}
	}
	// Its links to logs have a fixed place.
	if err := syscall.Mount("tmpfs", "/var/log", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("cover /var/log: %w", err)
	}
	for _, args := range []string{
		"link add nknode0 type veth peer name nknode1", // the kernel may have no dummy device
		"address add " + address + "/24 dev nknode0",
		"link set nknode1 up",
		"link set nknode0 up",
		"route add default dev nknode0",
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", args, err, out)
		}
	}
	return nil
}
