package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"slipway/conf"
	"slipway/server"
)

// manager is a service manager that hears what a daemon says of itself.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
	path string
}

func newManager(t *testing.T) *manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &manager{t, c, path}
}

func (m *manager) want(state string) {
	m.t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		m.t.Fatal(err)
	}
	b := make([]byte, 100)
	n, err := m.conn.Read(b)
	if err != nil || string(b[:n]) != state {
		m.t.Fatalf("the manager hears %q, %v; want %q", b[:n], err, state)
	}
}

func TestServeReloadsAndStops(t *testing.T) {
	path := writeConfig(t, "log_level = \"info\"\n")
	c, err := conf.Load(path, true)
	if err != nil {
		t.Fatal(err)
	}
	m := newManager(t)
	log := slog.New(slog.DiscardHandler)
	d := &daemon{settings: &settings{file: path}, config: newShared(c), level: &slog.LevelVar{}, log: log, manager: m.path}

	socket := filepath.Join(t.TempDir(), "x.sock")
	l, err := server.Listen(server.ListenOptions{Address: socket, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended, hangup := make(chan error, 1), make(chan os.Signal)
	go func() { ended <- d.serve(ctx, server.New(server.Options{Log: log}), l, hangup) }()

	if err := os.WriteFile(path, []byte("log_level = \"debug\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	hangup <- syscall.SIGHUP
	m.want("RELOADING=1")
	m.want("READY=1")
	if d.level.Level() != slog.LevelDebug {
		t.Errorf("the level is %v, want DEBUG", d.level.Level())
	}
	cancel()
	m.want("STOPPING=1")
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("serve ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("serve does not end")
	}
	if _, err := os.Lstat(socket); err == nil {
		t.Error("the socket is still there")
	}
}

func TestReload(t *testing.T) {
	for _, tt := range []struct {
		name, before, after string
		level               slog.Level
		image, log          string
	}{
		{"level", "", `log_level = "debug"`, slog.LevelDebug, "registry.k8s.io/pause", "reloaded"},
		{"sandbox image", "", `sandbox_image = "example.org/pause:1"`, slog.LevelInfo, "example.org/pause:1", "reloaded"},
		{"what needs a restart", "", `root = "/srv/slipway"`, slog.LevelInfo, "", "keys=[root]"},
		{"both", "", "root = \"/srv/x\"\nregistry_dir = \"/srv/certs\"\nlog_level = \"debug\"", slog.LevelDebug, "", `keys="[root registry_dir]"`},
		{"a wrong key", "", "log_level = \"debug\"\nnope = 1", slog.LevelInfo, "", "not reloaded"},
		{"a wrong value", "", `log_level = "loud"`, slog.LevelInfo, "", "not reloaded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := writeConfig(t, tt.before)
			c, err := conf.Load(path, true)
			if err != nil {
				t.Fatal(err)
			}
			var log strings.Builder
			d := &daemon{
				settings: &settings{file: path}, config: newShared(c), level: &slog.LevelVar{},
				log: slog.New(slog.NewTextHandler(&log, nil)),
			}
			if err := os.WriteFile(path, []byte(tt.after), 0o600); err != nil {
				t.Fatal(err)
			}
			d.reload()
			if d.level.Level() != tt.level {
				t.Errorf("the level is %v, want %v", d.level.Level(), tt.level)
			}
			got := d.config.shown().(shownConfig)
			if !strings.HasPrefix(got.SandboxImage, tt.image) || got.Root != c.Root || got.RegistryDir != c.RegistryDir {
				t.Errorf("in force is %+v", got)
			}
			if !strings.Contains(log.String(), tt.log) {
				t.Errorf("the log lacks %q:\n%s", tt.log, log.String())
			}
		})
	}
}

func TestNotifyWithoutManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/nonexistent/notify")
	socket := notifySocket()
	if socket != "/nonexistent/notify" || os.Getenv("NOTIFY_SOCKET") != "" {
		t.Errorf("socket is %q, the environment still has %q", socket, os.Getenv("NOTIFY_SOCKET"))
	}
	notify(socket, "READY=1") // does not hang, does not fail
	notify("", "READY=1")
}
