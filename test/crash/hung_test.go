package crash

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/test/node"
)

// hang mounts a file system at dir that answers nothing until release is called.
func hang(t *testing.T, dir string) (release func()) {
	t.Helper()
	fd, err := syscall.Open("/dev/fuse", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no FUSE here: %v", err)
	}
	if err := syscall.Mount("hung", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)); err != nil {
		t.Skipf("no FUSE here: %v", err)
	}
	released := false
	release = func() {
		if !released {
			released = true
			_ = syscall.Close(fd) // whoever waits gets ENOTCONN
			must(t, syscall.Unmount(dir, syscall.MNT_DETACH))
		}
	}
	t.Cleanup(release)
	return release
}

// A volume that hangs holds up nobody but the container that asks for it, at
// create and at start, and its pod can be removed.
func TestHungVolume(t *testing.T) {
	n := lab.New(t)
	for _, when := range []string{"create", "start"} {
		dir := filepath.Join(n.Setup.Dir, "hung-"+when)
		must(t, os.Mkdir(dir, 0o755))
		podCfg := n.PodConfig("victim-" + when)
		pod := n.RunPod(podCfg)
		cfg := node.Container("c", "sleep 100")
		cfg.Mounts = []*cri.Mount{{HostPath: dir, ContainerPath: "/mnt"}}
		var id string
		var release func()
		if when == "create" {
			release = hang(t, dir)
		} else {
			var err error
			id, err = n.Runtime.CreateContainer(t.Context(), pod, cfg, podCfg)
			must(t, err)
			release = hang(t, dir)
		}
		hung := make(chan error, 1)
		go func() {
			if when == "create" {
				_, err := n.Runtime.CreateContainer(context.Background(), pod, cfg, podCfg)
				hung <- err
				return
			}
			hung <- n.Runtime.StartContainer(context.Background(), id)
		}()
		other := n.PodConfig("other-" + when)
		lives(n, other)
		select {
		case err := <-hung:
			t.Fatalf("%s did not hang: %v", when, err)
		default: // the other pod lived its whole life meanwhile
		}
		if when == "start" {
			release() // else it is waited for as long as a kubelet does
		}
		if err := <-hung; err == nil {
			t.Errorf("%s with a hung volume succeeded", when)
		}
		n.RemovePod(pod)
		release()
	}
}

// lives runs a pod from its beginning to its end.
func lives(n *node.Node, cfg *cri.PodSandboxConfig) {
	n.T.Helper()
	pod := n.RunPod(cfg)
	id := n.Run(pod, cfg, node.Container("c", "sleep 100"))
	n.Exec(id, "true")
	n.RemovePod(pod)
}
