package server

import (
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func listen(t *testing.T, o ListenOptions) net.Listener {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestListenModes(t *testing.T) {
	group := strconv.Itoa(os.Getegid())
	for _, tt := range []struct {
		name      string
		group     string
		own       bool
		there     bool // the directory is there before
		sock, dir fs.FileMode
	}{
		{"root alone", "", true, false, 0o600, 0o700},
		{"a group", group, true, false, 0o660, 0o710},
		{"a group, next start", group, true, true, 0o660, 0o710},
		{"a group, someone else's directory", group, false, true, 0o660, 0o700},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			if tt.there {
				if err := os.Mkdir(dir, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			o := ListenOptions{Address: "unix://" + dir + "/x.sock", Group: tt.group}
			if tt.own {
				o.Own = dir
			}
			listen(t, o)
			for path, want := range map[string]fs.FileMode{dir + "/x.sock": tt.sock, dir: tt.dir} {
				fi, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				if fi.Mode().Perm() != want {
					t.Errorf("%s has mode %o, want %o", path, fi.Mode().Perm(), want)
				}
			}
		})
	}
}

func TestListenRefuses(t *testing.T) {
	for address, want := range map[string]string{
		"tcp://127.0.0.1:1":   "only unix://",
		"unix://x.sock":       "absolute",
		"":                    "absolute",
		"unix:///proc/x.sock": "proc",
	} {
		if _, err := Listen(ListenOptions{Address: address}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want it to say %q", address, err, want)
		}
	}
	if _, err := Listen(ListenOptions{Address: "/tmp/x.sock", Group: "no-such-group"}); err == nil || !strings.Contains(err.Error(), "no-such-group") {
		t.Errorf("unknown group: %v", err)
	}
}

func TestListenReplacesOnlyTheDead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.sock")

	l := listen(t, ListenOptions{Address: path})
	if _, err := Listen(ListenOptions{Address: path}); err == nil || !strings.Contains(err.Error(), "another process answers") {
		t.Errorf("a second listener: %v", err)
	}
	l.(*privateListener).Listener.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("no stale socket to replace: %v", err)
	}
	listen(t, ListenOptions{Address: path}).Close()

	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(ListenOptions{Address: path}); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("in place of a file: %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Errorf("the file is now %q, %v", b, err)
	}
}

// A socket may leak to where modes do not help; the peer's uid is asked as well.
func TestOtherUidIsTurnedAway(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp("/tmp", "listen")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "x.sock")
	log := &logBuffer{}
	l := listen(t, ListenOptions{Address: path, Log: slog.New(slog.NewTextHandler(log, nil))})
	accepted := make(chan struct{}, 2)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- struct{}{}
			c.Close()
		}
	}()

	// As if the modes were no hindrance.
	for p, mode := range map[string]fs.FileMode{dir: 0o755, path: 0o666} {
		if err := os.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
	}
	helper := filepath.Join(dir, "helper")
	copySelf(t, helper)
	cmd := exec.Command(helper, "-test.run=^TestDialHelper$")
	cmd.Env = append(os.Environ(), "DIAL_HELPER="+path)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("helper: %v: %s", err, out)
	}
	if !strings.Contains(log.String(), "uid=65534") {
		t.Errorf("the log does not name the peer: %s", log)
	}

	c, err := net.DialTimeout("unix", path, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	select {
	case <-accepted:
	case <-time.After(30 * time.Second):
		t.Fatal("root is not let in")
	}
	if len(accepted) != 0 {
		t.Error("uid 65534 was let in")
	}
}

// copySelf puts this program where another uid can run it.
func copySelf(t *testing.T, path string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestDialHelper is the other uid: it connects and sees the connection closed.
func TestDialHelper(t *testing.T) {
	path := os.Getenv("DIAL_HELPER")
	if path == "" {
		t.Skip("run by TestOtherUidIsTurnedAway")
	}
	c, err := net.DialTimeout("unix", path, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("read %d bytes", n)
	}
}
