package linux

import (
	"context"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// An open that hangs is given up, and what it opens later is closed.
func TestBounded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	release := make(chan bool)
	go cancel()
	_, err := Bounded(ctx, func() (int, error) {
		<-release
		return p[1], nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(release)
	if n, err := unix.Read(p[0], make([]byte, 1)); n != 0 || err != nil { // waits for the close
		t.Error(n, err)
	}
	if fd, err := Bounded(t.Context(), func() (int, error) { return 7, nil }); fd != 7 || err != nil {
		t.Error(fd, err)
	}
}
