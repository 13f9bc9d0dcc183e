package cri

import (
	"archive/tar"
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/imagestore/registrytest"
	"slipway/test/machine"
	"slipway/test/node"
)

// variant is busybox with some files and another configuration.
func variant(t *testing.T, files map[string]string, change func(*v1.Config)) v1.Image {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for path, text := range files {
		must(t, w.WriteHeader(&tar.Header{Name: path, Mode: 0o640, Uid: 33, Gid: 44, Size: int64(len(text)), Typeflag: tar.TypeReg}))
		_, err := io.WriteString(w, text)
		must(t, err)
	}
	must(t, w.Close())
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	must(t, err)
	img, err := mutate.AppendLayers(lab.Base, layer)
	must(t, err)
	cfg, err := img.ConfigFile()
	must(t, err)
	config := *cfg.Config.DeepCopy()
	change(&config)
	img, err = mutate.Config(img, config)
	must(t, err)
	return img
}

// importTar loads a docker-save tar by the command line.
func importTar(n *node.Node, ref string, img v1.Image) {
	n.T.Helper()
	tag, err := name.NewTag(ref)
	must(n.T, err)
	file := filepath.Join(n.T.TempDir(), "image.tar")
	must(n.T, tarball.WriteToFile(file, tag, img))
	bin, err := machine.Bin()
	must(n.T, err)
	out, err := exec.CommandContext(n.T.Context(), filepath.Join(bin, "slipway"), "import", "--listen", "unix://"+n.Setup.Socket, file).CombinedOutput()
	if err != nil || !strings.Contains(string(out), ref) {
		n.T.Fatalf("import: %v\n%s", err, out)
	}
}

func TestImportAndImageVolumes(t *testing.T) {
	n := newNode(t)
	const ref = "localhost/volumes:1"
	importTar(n, ref, variant(t, map[string]string{"data/file": "from the image\n", "data/sub/deep": "x", "etc/passwd": "root:x:0:0::/root:/bin/sh\napp:x:33:44::/data:/bin/sh\n"}, func(c *v1.Config) {
		c.Volumes = map[string]struct{}{"/data": {}, "/empty": {}}
		c.User = "app"
		c.WorkingDir = "/data"
		c.Env = append(c.Env, "FROM=image")
		c.Entrypoint, c.Cmd = []string{"sh", "-c"}, []string{`id -u; echo $HOME $FROM $HOSTNAME; pwd; cat file; stat -c %u:%g:%a file; echo more >> file && cat file; ls -A /empty | wc -l`}
	}))
	run := func(pod string) string {
		out, _ := n.Output(pod, "", func(_ *cri.PodSandboxConfig, c *cri.ContainerConfig) {
			c.Image.Image, c.Command = ref, nil
		})
		return out
	}
	want := "33\n/data image first\n/data\nfrom the image\n33:44:640\nfrom the image\nmore\n0\n"
	if got := run("first"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// The next container gets a volume of its own.
	if got := run("second"); got != strings.Replace(want, "first", "second", 1) {
		t.Errorf("the second container saw the first one's volume:\n%s", got)
	}
	r, err := n.Images.ImageStatus(t.Context(), &cri.ImageSpec{Image: ref}, false)
	must(t, err)
	if r.Image.GetUsername() != "app" || r.Image.GetUid() != nil || r.Image.GetSize() == 0 {
		t.Errorf("image status: %v", r.Image)
	}
}

func TestAnImageInUseStaysUsable(t *testing.T) {
	n := newNode(t)
	podCfg := n.PodConfig("use")
	pod := n.RunPod(podCfg)
	id, err := n.Runtime.CreateContainer(t.Context(), pod, node.Container("late", "echo still here"), podCfg)
	must(t, err)
	for range 2 { // removing what is gone is fine
		must(t, n.Images.RemoveImage(t.Context(), &cri.ImageSpec{Image: node.Busybox}))
	}
	if r, err := n.Images.ImageStatus(t.Context(), &cri.ImageSpec{Image: node.Busybox}, false); err != nil || r.Image != nil {
		t.Errorf("status of a removed image: %v, %v; want none", r, err)
	}
	must(t, n.Runtime.StartContainer(t.Context(), id))
	s := n.WaitState(id, cri.ContainerState_CONTAINER_EXITED)
	if got := n.Log(s); got != "still here\n" {
		t.Errorf("logged %q", got)
	}
}

func TestPullErrorsNameImageAndCause(t *testing.T) {
	n := newNode(t)
	good, err := registrytest.Image{Layers: [][]registrytest.File{{{Name: "f", Body: strings.Repeat("x", 1<<16)}}}}.Build()
	must(t, err)
	r, err := registrytest.Start()
	must(t, err)
	defer r.Close()
	r.Push("app", good, "1")
	locked, err := registrytest.Start()
	must(t, err)
	defer locked.Close()
	locked.Auth = &registrytest.Auth{User: "u", Password: "secret-word", Token: true}
	locked.Push("app", good, "1")

	pull := func(ref string, auth *cri.AuthConfig) error {
		_, err := n.Images.PullImage(t.Context(), &cri.ImageSpec{Image: ref}, auth, nil)
		return err
	}
	for name, tt := range map[string]struct {
		ref  string
		auth *cri.AuthConfig
		want []string
	}{
		"no such tag":   {r.Host() + "/app:none", nil, []string{"app:none"}},
		"bad reference": {"UPPER/case:1", nil, []string{"UPPER/case:1"}},
		"nobody there":  {"127.0.0.1:1/app:1", nil, []string{"RegistryUnavailable", "127.0.0.1:1"}},
		"no password":   {locked.Host() + "/app:1", nil, []string{locked.Host()}},
		"wrong one":     {locked.Host() + "/app:1", &cri.AuthConfig{Username: "u", Password: "wrong-word"}, []string{locked.Host()}},
	} {
		t.Run(name, func(t *testing.T) {
			err := pull(tt.ref, tt.auth)
			if err == nil {
				t.Fatal("it was pulled")
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("no %q in %v", w, err)
				}
			}
			if strings.Contains(err.Error(), "wrong-word") {
				t.Errorf("the password is in the error: %v", err)
			}
		})
	}
	if err := pull(locked.Host()+"/app:1", &cri.AuthConfig{Username: "u", Password: "secret-word"}); err != nil {
		t.Errorf("with the right password: %v", err)
	}
	if log, _ := os.ReadFile(n.Setup.Log); strings.Contains(string(log), "secret-word") || strings.Contains(string(log), "wrong-word") {
		t.Error("a password is in the daemon's log")
	}
}

func TestACorruptLayerIsNotKept(t *testing.T) {
	n := newNode(t)
	img, err := registrytest.Image{Layers: [][]registrytest.File{{{Name: "f", Body: strings.Repeat("content ", 1000)}}}}.Build()
	must(t, err)
	r, err := registrytest.Start()
	must(t, err)
	defer r.Close()
	r.Push("app", img, "1")
	ref := &cri.ImageSpec{Image: r.Host() + "/app:1"}
	r.SetFault(func(q *http.Request) *registrytest.Fault {
		if strings.HasSuffix(q.URL.Path, img.Layers[0].Digest.String()) {
			return &registrytest.Fault{Flip: 20}
		}
		return nil
	})
	if _, err := n.Images.PullImage(t.Context(), ref, nil, nil); err == nil || !strings.Contains(err.Error(), img.Layers[0].Digest.String()) {
		t.Errorf("corrupt layer: %v, want an error that names %s", err, img.Layers[0].Digest)
	}
	if s, err := n.Images.ImageStatus(t.Context(), ref, false); err != nil || s.Image != nil {
		t.Errorf("it is there: %v, %v", s, err)
	}
	r.SetFault(nil)
	if _, err := n.Images.PullImage(t.Context(), ref, nil, nil); err != nil {
		t.Errorf("with the fault gone: %v", err)
	}
}
