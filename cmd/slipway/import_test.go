package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"slipway/server/adminapi"
)

// fakeDaemon keeps what is imported; a tar that begins with "bad" it refuses
// without reading on.
type fakeDaemon struct {
	adminapi.UnimplementedAdminServer
	tars [][]byte
	cut  chan error // one for each tar that ended without its end
}

func (d *fakeDaemon) Import(in grpc.ClientStreamingServer[adminapi.ImportRequest, adminapi.ImportResponse]) error {
	var tar []byte
	for {
		m, err := in.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			d.cut <- err
			return err
		}
		tar = append(tar, m.GetData()...)
		if bytes.HasPrefix(tar, []byte("bad")) {
			return status.Error(codes.DataLoss, "layer sha256:11: digest does not match")
		}
	}
	d.tars = append(d.tars, tar)
	return in.SendAndClose(&adminapi.ImportResponse{Images: []*adminapi.Image{
		{Id: "sha256:aa", Tags: []string{"web:1"}, Digests: []string{"web@sha256:bb"}},
		{Id: "sha256:cc"},
	}})
}

// runDaemon serves d, or nothing of ours if it is nil, and returns the address.
func runDaemon(t *testing.T, d *fakeDaemon) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	if d != nil {
		adminapi.RegisterAdminServer(s, d)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Stop(); <-done })
	return "unix://" + path
}

const printed = "sha256:aa web:1\nsha256:aa web@sha256:bb\nsha256:cc (no name)\n"

func TestImport(t *testing.T) {
	big := bytes.Repeat([]byte("tar"), chunkSize)
	file := filepath.Join(t.TempDir(), "a.tar")
	if err := os.WriteFile(file, big, 0o600); err != nil {
		t.Fatal(err)
	}
	d := &fakeDaemon{}
	code, out, errs := typed(t.Context(), "from stdin", "import", "--listen", runDaemon(t, d), file, "-")
	if code != exitOK || out != printed+printed || errs != "" {
		t.Errorf("exit %d\nout: %s\nerr: %s", code, out, errs)
	}
	if len(d.tars) != 2 || !bytes.Equal(d.tars[0], big) || string(d.tars[1]) != "from stdin" {
		t.Errorf("%d tars arrived", len(d.tars))
	}
}

func TestImportTakesTheSocketFromTheConfig(t *testing.T) {
	d := &fakeDaemon{}
	config := writeConfig(t, "listen = \""+runDaemon(t, d)+"\"\n")
	if code, _, errs := typed(t.Context(), "x", "import", "--config", config, "-"); code != exitOK || len(d.tars) != 1 {
		t.Errorf("exit %d: %s", code, errs)
	}
}

// One bad file does not keep the others out, and is named.
func TestImportGoesOn(t *testing.T) {
	dir := t.TempDir()
	bad, good, missing := filepath.Join(dir, "bad.tar"), filepath.Join(dir, "good.tar"), filepath.Join(dir, "missing.tar")
	for path, text := range map[string]string{bad: "bad" + strings.Repeat("x", 8<<20), good: "good"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := &fakeDaemon{}
	code, out, errs := typed(t.Context(), "", "import", "--listen", runDaemon(t, d), bad, missing, dir, good)
	if code != exitFailure || out != printed || len(d.tars) != 1 {
		t.Errorf("exit %d, %d tars\nout: %s", code, len(d.tars), out)
	}
	for _, want := range []string{
		bad + ": layer sha256:11: digest does not match",
		missing + ": no such file or directory",
		dir + ": is a directory",
	} {
		if !strings.Contains(errs, want) {
			t.Errorf("the error lacks %q:\n%s", want, errs)
		}
	}
	if strings.Contains(errs, "rpc error") {
		t.Errorf("gRPC's words are shown:\n%s", errs)
	}
}

func TestImportWithoutDaemon(t *testing.T) {
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead.sock")
	l, err := net.Listen("unix", dead)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"unix://" + dir + "/none.sock": "there is no socket " + dir + "/none.sock",
		"unix://" + dead:               "nobody answers on " + dead,
		runDaemon(t, nil):              "another runtime or an older slipway",
	} {
		code, out, errs := typed(t.Context(), "x", "import", "--listen", address, "-")
		if code != exitFailure || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%s: exit %d, want it to say %q\n%s", address, code, want, errs)
		}
	}
}

// A file that cannot be read to its end is not taken for a whole one.
func TestImportUnreadable(t *testing.T) {
	d := &fakeDaemon{cut: make(chan error, 1)}
	conn, err := dial(t.Context(), strings.TrimPrefix(runDaemon(t, d), "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	im := importer{client: adminapi.NewAdminClient(conn)}
	broken := io.MultiReader(strings.NewReader("half"), brokenReader{})
	_, err = im.send(t.Context(), broken, newProgress(io.Discard, "x", 0))
	if err == nil || !strings.Contains(err.Error(), "disk broke") {
		t.Errorf("send: %v", err)
	}
	select {
	case <-d.cut: // before the connection ends: another file may follow
	case <-time.After(30 * time.Second):
		t.Error("the daemon still waits for the rest")
	}
	if len(d.tars) != 0 {
		t.Error("half a tar was imported")
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("disk broke") }

func TestProgress(t *testing.T) {
	for _, tt := range []struct {
		size, sent int64
		want       string
	}{
		{0, 5 << 20, "a.tar: 5 MiB"},
		{200 << 20, 50 << 20, "a.tar:  25% of 200 MiB"},
		{10, 20, "a.tar: 100% of 0 MiB"}, // it grew while it was read
	} {
		p := &progress{name: "a.tar", size: tt.size, sent: tt.sent}
		if got := p.line(); got != tt.want {
			t.Errorf("line is %q, want %q", got, tt.want)
		}
	}
	var b bytes.Buffer
	p := newProgress(&b, "a.tar", 10)
	p.add(5)
	p.done()
	if b.Len() != 0 {
		t.Errorf("written to what is no terminal: %q", b.String())
	}
}
