package bench

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/imagestore/blob"
	"slipway/imagestore/layer"
	"slipway/oci"
	"slipway/sandbox/logfile"
	"slipway/sandbox/program"
	"slipway/sandbox/seccomp"
	"slipway/sandbox/wire"
)

// tree is a layer of files of equal size, half of which compresses.
func tree(tb testing.TB, files, size int) []byte {
	tb.Helper()
	random := rand.New(rand.NewPCG(1, 1))
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	body := make([]byte, size)
	for i := range files {
		dir := fmt.Sprintf("data/%02d", i%50)
		if i < 50 {
			must(tb, w.WriteHeader(&tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: time.Unix(1e9, 0)}))
		}
		for j := 0; j < len(body)/2; j++ {
			body[j] = byte(random.Uint32())
		}
		must(tb, w.WriteHeader(&tar.Header{
			Name: fmt.Sprintf("%s/%d", dir, i), Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(size), ModTime: time.Unix(1e9, 0),
		}))
		_, err := w.Write(body)
		must(tb, err)
	}
	must(tb, w.Close())
	return b.Bytes()
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func pack(tb testing.TB, plain []byte, kind string) []byte {
	tb.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch kind {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zstd":
		z, err := zstd.NewWriter(&b)
		must(tb, err)
		w = z
	default:
		return plain
	}
	_, err := w.Write(plain)
	must(tb, err)
	must(tb, w.Close())
	return b.Bytes()
}

func BenchmarkUnpack(b *testing.B) {
	for _, c := range []struct {
		name        string
		files, size int
	}{{"2000x2k", 2000, 2 << 10}, {"4x8M", 4, 8 << 20}} {
		plain := tree(b, c.files, c.size)
		for _, kind := range []string{"plain", "gzip", "zstd"} {
			packed := pack(b, plain, kind)
			b.Run(c.name+"/"+kind, func(b *testing.B) {
				d := layer.NewDecoder()
				b.SetBytes(int64(len(plain)))
				top := b.TempDir()
				must(b, blob.Spread(top)) // as the store has it
				for i := 0; b.Loop(); i++ {
					dir := filepath.Join(top, fmt.Sprint(i))
					must(b, os.Mkdir(dir, 0o755))
					_, err := d.Unpack(b.Context(), bytes.NewReader(packed), dir, layer.Limits{})
					must(b, err)
				}
			})
		}
	}
}

// input is an ordinary container's.
func input() oci.ContainerInput {
	pod := &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: "web", Namespace: "default", Uid: "u"},
		Labels:   map[string]string{"app": "web"}, Annotations: map[string]string{"a": "b"},
		Linux: &cri.LinuxPodSandboxConfig{SecurityContext: &cri.LinuxSandboxSecurityContext{}},
	}
	ctr := &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: "main"}, Image: &cri.ImageSpec{Image: "web"},
		Command: []string{"/bin/web"}, Args: []string{"-v"}, WorkingDir: "/",
		Linux: &cri.LinuxContainerConfig{
			Resources: &cri.LinuxContainerResources{CpuShares: 512, MemoryLimitInBytes: 256 << 20, OomScoreAdj: 900},
			SecurityContext: &cri.LinuxContainerSecurityContext{
				NoNewPrivs: true, Seccomp: &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault},
			},
		},
	}
	for i := range 20 {
		ctr.Envs = append(ctr.Envs, &cri.KeyValue{Key: fmt.Sprintf("SERVICE_%d", i), Value: []byte("10.0.0.1:80")})
	}
	return oci.ContainerInput{
		ID: "c1", PodID: "p1", Pod: pod, Container: ctr, Hostname: "web", CgroupsPath: "/slipway/c1",
		Image: oci.ImageConfig{Env: []string{"PATH=/bin"}, Entrypoint: []string{"/bin/web"}},
		Host:  oci.Host{Arch: runtime.GOARCH, Seccomp: true},
		Namespaces: map[specs.LinuxNamespaceType]string{
			specs.PIDNamespace: "", specs.IPCNamespace: "", specs.UTSNamespace: "", specs.NetworkNamespace: "",
			specs.CgroupNamespace: "",
		},
	}
}

func BenchmarkContainerSpec(b *testing.B) {
	in := input()
	for b.Loop() {
		_, err := oci.Container(in)
		must(b, err)
	}
}

func BenchmarkSeccomp(b *testing.B) {
	spec, err := oci.Container(input())
	must(b, err)
	profile := spec.Linux.Seccomp
	b.Run("compile", func(b *testing.B) {
		for b.Loop() {
			_, err := seccomp.Compile(profile)
			must(b, err)
		}
	})
	b.Run("cached", func(b *testing.B) {
		var c seccomp.Cache
		for b.Loop() {
			_, err := c.Get(profile)
			must(b, err)
		}
	})
}

func BenchmarkProgram(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root: the mounts of a container are made")
	}
	spec, err := oci.Container(input())
	must(b, err)
	dir := b.TempDir()
	for _, d := range []string{"lower/bin", "upper", "work"} {
		must(b, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	must(b, err)
	defer null.Close()
	fd := int(null.Fd())
	c := &program.Container{
		Spec: spec, PidInit: -1, Cgroup: program.Cgroup{Into: -1}, Stdio: program.Stdio{In: fd, Out: fd, Err: fd},
		Root: program.Root{Lower: []string{filepath.Join(dir, "lower")}, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work")},
	}
	for b.Loop() {
		p, err := c.Build(b.Context())
		must(b, err)
		must(b, p.Close())
	}
}

func BenchmarkFrame(b *testing.B) {
	for _, size := range []int{100, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			var f logfile.Framer
			line := append(bytes.Repeat([]byte("x"), size-1), '\n')
			data := bytes.Repeat(line, logfile.Batch/size)
			dst := make([]byte, 0, 2*logfile.Batch)
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				f.Begin(time.Now())
				f.Frame(dst, logfile.Stdout, data)
			}
		})
	}
}

func BenchmarkWire(b *testing.B) {
	m := &wire.Spawn{ID: "c", Kind: wire.KindContainer, ProgramFds: 40, Names: []string{"stdout", "stderr"}}
	b.Run("codec", func(b *testing.B) {
		for b.Loop() {
			data, err := wire.Encode(1, m, 0)
			must(b, err)
			_, _, _, err = wire.Decode(data)
			must(b, err)
		}
	})
	b.Run("round trip", func(b *testing.B) {
		here, there, err := wire.Pair()
		must(b, err)
		defer here.Close()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				p, err := there.Recv()
				if err != nil || there.Send(p.Seq, &wire.OK{}) != nil {
					return
				}
			}
		}()
		for b.Loop() {
			must(b, here.Send(1, m))
			_, err := here.Recv()
			must(b, err)
		}
		there.Close()
		<-done
	})
}

// BenchmarkSpecRecord is what writing a container's spec down costs.
func BenchmarkSpecRecord(b *testing.B) {
	spec, err := oci.Container(input())
	must(b, err)
	for b.Loop() {
		_, err := json.Marshal(spec)
		must(b, err)
	}
}
