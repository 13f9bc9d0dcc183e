package native

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// visit runs do on a thread that is in the network namespace ns, and waits for
// it. The thread goes home afterwards; one that cannot ends with its goroutine,
// so no other goroutine ever runs in there.
func visit(home, ns *os.File, do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("enter network namespace %q: %w", ns.Name(), err)
			return
		}
		err := do()
		if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
			done <- errors.Join(err, fmt.Errorf("leave network namespace %q: %w", ns.Name(), back))
			return // locked: the thread ends
		}
		runtime.UnlockOSThread()
		done <- err
	}()
	return <-done
}

func visitPath(home *os.File, path string, do func() error) error {
	ns, err := openNamespace(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	return visit(home, ns, do)
}

func openNamespace(path string) (*os.File, error) {
	// O_NONBLOCK: whatever is there now, opening it must not hang.
	ns, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	return ns, nil
}

// withRoute opens a route socket in the namespace of this thread.
func withRoute(do func(*netlink.Handle) error) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer h.Close()
	return do(h)
}

const dumpTries = 20

// addresses lists a link's addresses, again when the list changed meanwhile.
func addresses(h *netlink.Handle, link netlink.Link, family int) (addrs []netlink.Addr, err error) {
	for range dumpTries {
		addrs, err = h.AddrList(link, family)
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("addresses of %q: %w", link.Attrs().Name, err)
	}
	return addrs, nil
}
