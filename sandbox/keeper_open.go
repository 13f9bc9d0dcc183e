package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"slipway/sandbox/linux"
	"slipway/sandbox/wire"
)

// greetBound is for a keeper that listens but does not answer.
const greetBound = 10 * time.Second

// upgradeBound covers the keeper's own wait for what is under way.
const upgradeBound = 20 * time.Second

// openLink adopts the keeper that listens at <state>/keeper.sock, upgrading it
// in place when it runs another binary, or starts one. It returns what an
// adopted keeper holds. The daemon becomes a subreaper.
func openLink(ctx context.Context, o linkOptions) (*link, []held, error) {
	if err := linux.BecomeSubreaper(); err != nil {
		return nil, nil, err
	}
	if o.Start == nil {
		o.Start = startKeeper
	}
	build, err := digest(o.Binary)
	if err != nil {
		return nil, nil, err
	}
	l := &link{
		o: o, build: build, kept: map[string]*kept{}, up: make(chan struct{}), ends: make(chan struct{}, 1), child: -1,
	}
	w, there, ends, err := l.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, h := range there {
		if err := l.adopt(h); err != nil {
			closeHeld(there)
			_ = w.conn.Close()
			return nil, nil, err
		}
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.work.Go(func() { l.serve(w, ends) })
	l.work.Go(l.tell)
	l.work.Go(l.orphans)
	if _, err := l.wait(ctx); err != nil {
		return nil, nil, errors.Join(err, l.close(false))
	}
	return l, there, nil
}

// digest tells binaries apart; the keeper cannot read its own.
func digest(binary string) (string, error) {
	b, err := os.ReadFile(binary)
	if err != nil {
		return "", fmt.Errorf("keeper binary: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8]), nil
}

// adopt keeps copies of what a keeper gave back.
func (l *link) adopt(h held) error {
	k, err := l.keep(h.ID, h.Kind, h.Fds)
	if err != nil {
		return err
	}
	k.pid, k.oom, k.exit = h.Pid, h.OOM, h.Exit
	return nil
}

func (l *link) socket() string { return filepath.Join(l.o.State, "keeper.sock") }

// connect finds the keeper or starts one, and greets it. One that was found
// dying (both processes were killed, and the keeper's end takes longer) still
// takes the connection and never answers: the next try starts another.
func (l *link) connect(ctx context.Context) (*keeperWire, []held, []wire.Exit, error) {
	ctx, cancel := context.WithTimeout(ctx, greetBound+upgradeBound)
	defer cancel()
	for try := 1; ; try++ {
		w, there, ends, err := l.greet(ctx)
		if err == nil || try == maxGreets || ctx.Err() != nil || !hungUp(err) {
			return w, there, ends, err
		}
		l.o.Log.Info("the keeper went away as it was greeted; another one is started", "error", err)
	}
}

// maxGreets bounds how often a keeper that hangs up is tried again at once.
const maxGreets = 5

func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func (l *link) greet(ctx context.Context) (*keeperWire, []held, []wire.Exit, error) {
	c, err := wire.Dial(l.socket())
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		c, err = l.start(ctx)
	}
	if err != nil {
		return nil, nil, nil, err
	}
	w := newKeeperWire(c)
	greet, stop := context.WithTimeout(ctx, greetBound)
	defer stop()
	welcome, there, ends, err := w.hello(greet)
	if err == nil && welcome.Build != l.build {
		err = l.upgrade(ctx, w, welcome)
	}
	if err != nil {
		_ = c.Close()
		closeHeld(there)
		return nil, nil, nil, err
	}
	return w, there, ends, nil
}

// start starts a keeper on a new socket and connects to it.
func (l *link) start(ctx context.Context) (*wire.Conn, error) {
	l.reapKeeper()
	listener, err := wire.Listen(l.socket())
	if err != nil {
		return nil, err
	}
	defer linux.Close(listener)
	binary, err := os.ReadFile(l.o.Binary)
	if err != nil {
		return nil, fmt.Errorf("keeper binary: %w", err)
	}
	log := l.o.KeeperLog
	if log < 0 {
		log = syscall.Stderr
	}
	child, err := l.o.Start(ctx, keeperStart{Binary: binary, Listener: listener, Log: log, Build: l.build})
	if err != nil {
		return nil, err
	}
	l.child = child
	return wire.Dial(l.socket())
}

// reapKeeper takes away a keeper of ours that has died.
func (l *link) reapKeeper() {
	if l.child >= 0 {
		_, _, _ = linux.Reap(l.child)
		_ = linux.Close(l.child)
		l.child = -1
	}
}

// upgrade replaces the program of a keeper that runs another binary. One that
// is busy and speaks our version goes on as it is until the next start.
func (l *link) upgrade(ctx context.Context, w *keeperWire, now *wire.Welcome) error {
	binary, err := os.ReadFile(l.o.Binary)
	if err != nil {
		return fmt.Errorf("keeper binary: %w", err)
	}
	memfd, err := linux.SealedMemfd("slipway-keeper", binary)
	if err != nil {
		return fmt.Errorf("keeper binary: %w", err)
	}
	defer linux.Close(memfd)
	w.seq++
	if err := w.conn.Send(w.seq, &wire.Upgrade{Build: l.build}, memfd); err != nil {
		return fmt.Errorf("upgrade keeper: %w", err)
	}
	_ = w.conn.SetReadDeadline(time.Now().Add(upgradeBound))
	defer func() { _ = w.conn.SetReadDeadline(time.Time{}) }()
	for {
		p, err := w.conn.Recv()
		if err != nil {
			return fmt.Errorf("upgrade keeper: %w", err)
		}
		wire.CloseAll(p.Fds)
		switch m := p.Message.(type) {
		case *wire.Upgraded:
			l.o.Log.Info("keeper upgraded in place", "from", now.Build, "to", m.Build)
			return nil
		case *wire.Failed:
			if now.Version != wire.Version {
				return fmt.Errorf("upgrade keeper from protocol %d to %d: %w", now.Version, wire.Version, m.Error())
			}
			l.o.Log.Warn("the keeper could not be upgraded and goes on with its old program", "error", m.Error())
			return nil
		case *wire.Exit:
			l.event(m) // told to OnExit once there is somebody to tell
		}
	}
}
