package cri

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/test/node"
)

// withMountBelow makes a directory of the host with a tmpfs mounted in it.
func withMountBelow(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	sub := filepath.Join(dir, "sub")
	must(t, os.Mkdir(sub, 0o755))
	must(t, syscall.Mount("sub", sub, "tmpfs", 0, ""))
	t.Cleanup(func() { _ = syscall.Unmount(sub, syscall.MNT_DETACH) })
	return dir
}

// A read-only volume leaves what is mounted in it writable, a recursively
// read-only one does not; in a user namespace too.
func TestRecursiveReadOnly(t *testing.T) {
	n := newNode(t)
	dir := withMountBelow(t)
	for name, users := range map[string]bool{"plain": false, "users": true} {
		t.Run(name, func(t *testing.T) {
			if users && kernelBefore(t, 6, 3) {
				t.Skip("before Linux 6.3 the ids of a tmpfs cannot be mapped")
			}
			inner := *n
			inner.T = t
			readOnlyVolumes(t, &inner, name, dir, users)
		})
	}
	podCfg := n.PodConfig("refused")
	pod := n.RunPod(podCfg)
	for name, m := range map[string]*cri.Mount{
		"writable":    {HostPath: dir, ContainerPath: "/d", RecursiveReadOnly: true},
		"propagating": {HostPath: dir, ContainerPath: "/d", RecursiveReadOnly: true, Readonly: true, Propagation: cri.MountPropagation_PROPAGATION_HOST_TO_CONTAINER},
	} {
		cfg := node.Container(name, "true")
		cfg.Mounts = []*cri.Mount{m}
		if _, err := n.Runtime.CreateContainer(t.Context(), pod, cfg, podCfg); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func readOnlyVolumes(t *testing.T, n *node.Node, name, dir string, users bool) {
	out, _ := n.Output(name, `for d in ro ro/sub rro rro/sub; do touch /$d/x 2>/dev/null && echo $d; done; true`,
		func(pod *cri.PodSandboxConfig, c *cri.ContainerConfig) {
			ro := &cri.Mount{HostPath: dir, ContainerPath: "/ro", Readonly: true}
			rro := &cri.Mount{HostPath: dir, ContainerPath: "/rro", Readonly: true, RecursiveReadOnly: true}
			if users {
				inUsers(pod, 1<<20)
				likePod(c, pod)
				for _, m := range []*cri.Mount{ro, rro} {
					m.UidMappings = pod.Linux.SecurityContext.NamespaceOptions.UsernsOptions.Uids
					m.GidMappings = pod.Linux.SecurityContext.NamespaceOptions.UsernsOptions.Gids
				}
			}
			c.Mounts = []*cri.Mount{ro, rro}
		})
	if strings.TrimSpace(out) != "ro/sub" {
		t.Errorf("can be written: %q", out)
	}
}

// kernelBefore tells whether the kernel is older than a version.
func kernelBefore(t *testing.T, major, minor int) bool {
	t.Helper()
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	must(t, err)
	var is [2]int
	_, err = fmt.Sscanf(string(b), "%d.%d", &is[0], &is[1])
	must(t, err)
	return is[0] < major || is[0] == major && is[1] < minor
}

func TestMountOptions(t *testing.T) {
	n := newNode(t)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "run"), []byte("#!/bin/sh\necho it ran\n"), 0o755))
	out, _ := n.Output("options", `/d/run; grep " /d " /proc/self/mounts`, func(_ *cri.PodSandboxConfig, c *cri.ContainerConfig) {
		c.Mounts = []*cri.Mount{{HostPath: dir, ContainerPath: "/d", MountOptions: []string{"noexec", "nosuid", "nodev", "noatime"}}}
	})
	if strings.Contains(out, "it ran") || !strings.Contains(out, "nosuid,nodev,noexec,noatime") {
		t.Errorf("%s", out)
	}
	podCfg := n.PodConfig("refused")
	pod := n.RunPod(podCfg)
	cfg := node.Container("main", "true")
	cfg.Mounts = []*cri.Mount{{HostPath: dir, ContainerPath: "/d", MountOptions: []string{"exec"}}}
	if _, err := n.Runtime.CreateContainer(t.Context(), pod, cfg, podCfg); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), `"exec"`) {
		t.Errorf("an option that gives something: %v", err)
	}
}

// An image as a volume: a part of it, with the ids of the pod.
func TestImageVolume(t *testing.T) {
	n := newNode(t)
	image := &cri.ImageSpec{Image: node.Busybox}
	for _, users := range []bool{false, true} {
		out, _ := n.Output(map[bool]string{false: "plain", true: "users"}[users], `
			stat -c "%n %u:%g" /whole/bin /part/busybox /file
			touch /whole/x /part/x || echo neither can be written`, func(pod *cri.PodSandboxConfig, c *cri.ContainerConfig) {
			if users {
				inUsers(pod, 1<<20)
				likePod(c, pod)
			}
			c.Mounts = []*cri.Mount{
				{Image: image, ContainerPath: "/whole"},
				{Image: image, ContainerPath: "/part", ImageSubPath: "bin"},
				{Image: image, ContainerPath: "/file", ImageSubPath: "etc/passwd", MountOptions: []string{"noexec"}},
			}
		})
		for _, want := range []string{"/whole/bin 0:0", "/part/busybox 0:0", "/file 0:0", "neither can be written"} {
			if !strings.Contains(out, want) {
				t.Errorf("user namespace %v: no %q in\n%s", users, want, out)
			}
		}
	}
	podCfg := n.PodConfig("refused")
	pod := n.RunPod(podCfg)
	cfg := node.Container("main", "true")
	for _, m := range []*cri.Mount{
		{Image: image, ContainerPath: "/v", ImageSubPath: "no/such"},
		{Image: &cri.ImageSpec{Image: "registry.k8s.io/absent:1"}, ContainerPath: "/v"},
	} {
		cfg.Mounts = []*cri.Mount{m}
		if _, err := n.Runtime.CreateContainer(t.Context(), pod, cfg, podCfg); err == nil || !strings.HasPrefix(status.Convert(err).Message(), "ImageVolumeMountFailed: ") {
			t.Errorf("%s: %v", m, err)
		}
	}
}

// Groups of the image's /etc/group come with Merge and not with Strict, and
// the status says which there are.
func TestSupplementalGroupsPolicy(t *testing.T) {
	n := newNode(t)
	const image = "gcr.io/k8s-staging-cri-tools/test-image-predefined-group:latest"
	if _, err := n.Images.PullImage(t.Context(), &cri.ImageSpec{Image: image}, nil, nil); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		policy cri.SupplementalGroupsPolicy
		users  bool
		want   []int64
	}{
		"merge":      {cri.SupplementalGroupsPolicy_Merge, false, []int64{1234, 50000}},
		"strict":     {cri.SupplementalGroupsPolicy_Strict, false, []int64{1234}},
		"merge-user": {cri.SupplementalGroupsPolicy_Merge, true, []int64{1234, 50000}},
	} {
		out, s := n.Output(name, "id -G", func(pod *cri.PodSandboxConfig, c *cri.ContainerConfig) {
			if tt.users {
				inUsers(pod, 1<<20)
				likePod(c, pod)
			}
			c.Image.Image = image
			sc := c.Linux.SecurityContext
			sc.SupplementalGroups, sc.SupplementalGroupsPolicy = []int64{1234}, tt.policy
		})
		got := slices.Clone(s.GetUser().GetLinux().GetSupplementalGroups())
		slices.Sort(got)
		if s.GetUser().GetLinux().GetUid() != 1000 || !slices.Equal(slices.DeleteFunc(got, func(g int64) bool { return g == 1000 || g == 0 }), tt.want) {
			t.Errorf("%s: status %v, want %v", name, s.GetUser(), tt.want)
		}
		if strings.Contains(out, "50000") != slices.Contains(tt.want, 50000) || !strings.Contains(out, "1234") {
			t.Errorf("%s: inside %q", name, out)
		}
	}
}
