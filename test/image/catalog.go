package image

import (
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Hosts are the registries that the served images claim to come from.
func Hosts() []string {
	return []string{"registry.k8s.io", "k8s.gcr.io", "gcr.io", "public.ecr.aws"}
}

// spec describes one image and all its names.
type spec struct {
	names  []string // repository:tag, without the registry's host
	layers []string // names of layers, bottom first
	mark   bool     // add a layer of its own, so that no other image has its id
	config v1.Config
}

const (
	e2e     = "e2e-test-images/"
	staging = "k8s-staging-cri-tools/"
	mirror  = "docker/library/"
)

// catalog lists every image that critest v1.36.0 names (its pkg/validate,
// pkg/framework and pkg/benchmark), with what its specs ask of it.
func catalog() []spec {
	shell := v1.Config{Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, Cmd: []string{"sh"}}
	as := func(user string) v1.Config {
		c := shell
		c.User = user
		return c
	}
	run := func(args ...string) v1.Config {
		c := shell
		c.Cmd = args
		return c
	}
	images := []spec{
		// The default image of nearly every spec: sh, top, ping, brctl, mount,
		// pgrep, ipcs, netstat; a user "nobody"; /bin/ls as a file of its own.
		{names: []string{e2e + "busybox:1.29-2"}, layers: []string{"busybox", "procs"}, config: shell},
		// Answers 200 on port 80, writes /var/run/nginx.pid, is found by
		// "pidof nginx", and has "master process" in its command line.
		{
			names:  []string{e2e + "nginx:1.14-2"},
			layers: []string{"busybox", "nginx"},
			config: run("/usr/sbin/nginx", "-listen", ":80", "-pid", "/var/run/nginx.pid", "master process"),
		},
		// Answers 200 on port 80 and logs its name.
		{names: []string{e2e + "httpd:2.4.39-4"}, layers: []string{"busybox", "httpd"}, config: run("/usr/sbin/httpd", "-listen", ":80")},
		// The same on port 12003, in the host's network.
		{
			names:  []string{staging + "hostnet-nginx-" + runtime.GOARCH + ":latest"},
			layers: []string{"busybox", "nginx"},
			config: run("/usr/sbin/nginx", "-listen", ":12003", "-pid", "/var/run/nginx.pid"),
		},
		// Prints "Effective uid: N" from a file that is set-user-id root.
		{names: []string{e2e + "nonewprivs:1.3"}, layers: []string{"nnp"}, config: v1.Config{Entrypoint: []string{"/nnp"}}},
		// Pulled under two registries' names; must be one image.
		{names: []string{"pause:3.9"}, layers: []string{"pause"}, config: v1.Config{Entrypoint: []string{"/pause"}, User: "65535:65535"}},
		// ImageStatus must show the user as a number, or as a name.
		{names: []string{staging + "test-image-user-uid:latest"}, layers: []string{"busybox"}, mark: true, config: as("1002")},
		{names: []string{staging + "test-image-user-username:latest"}, layers: []string{"busybox"}, mark: true, config: as("www-data")},
		{names: []string{staging + "test-image-user-uid-group:latest"}, layers: []string{"busybox"}, mark: true, config: as("1003:50000")},
		{names: []string{staging + "test-image-user-username-group:latest"}, layers: []string{"busybox"}, mark: true, config: as("www-data:100")},
		// User 1000 is a member of group 50000 in the image's /etc/group.
		{names: []string{staging + "test-image-predefined-group:latest"}, layers: []string{"busybox", "group"}, config: as("1000")},
		// One image, three tags; listed with exactly these.
		{
			names: []string{
				staging + "test-image-tags:1",
				staging + "test-image-tags:2",
				staging + "test-image-tags:3",
			},
			layers: []string{"busybox"}, mark: true, config: shell,
		},
		// Only listed by critest's benchmarks, which are off by default.
		{
			names: []string{
				mirror + "busybox:1",
				mirror + "busybox:1-glibc",
				mirror + "busybox:1-musl",
				mirror + "busybox:1-uclibc",
				mirror + "busybox:1.35.0-glibc",
			},
			layers: []string{"busybox"}, mark: true, config: shell,
		},
	}
	// Images that differ from every other: RepoTags must hold one name each.
	for _, name := range []string{"test-image-latest:latest", "test-image-tag:test", "test-image-tag:all", "test-image-1:latest", "test-image-2:latest", "test-image-3:latest"} {
		images = append(images, spec{names: []string{staging + name}, layers: []string{"busybox"}, mark: true, config: shell})
	}
	return images
}
