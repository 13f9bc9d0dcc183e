package registry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// errForbidden: a registry's reply led to an address that it must not lead to.
var errForbidden = errors.New("address not allowed")

// guard decides to which addresses one pull may connect. Hosts that the
// reference or the configuration names are the operator's business. Others are
// named by replies (a redirect, a token realm) and must not reach what only
// this node can: metadata services, link-local, and loopback or private
// networks unless the registry itself is there (CVE class of ggcr #2193,
// oras 2026-48978).
type guard struct {
	mu    sync.Mutex
	named map[string]struct{} // "host:port" of configured hosts and proxies

	private, loopback atomic.Bool // a named host was found there
}

// name makes a host one that was not named by a reply.
func (g *guard) name(u *url.URL) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.named[address(u)] = struct{}{}
}

func (g *guard) isNamed(addr string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, ok := g.named[addr]
	return ok
}

// address is what the transport dials for u.
func address(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// dialer returns a DialContext for the transport.
func (g *guard) dialer(timeout time.Duration) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		named := g.isNamed(addr)
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		_, err = netip.ParseAddr(host)
		d := net.Dialer{
			Timeout:   timeout,
			KeepAlive: 30 * time.Second,
			// After the name was resolved, so a name cannot lie.
			Control: func(_, address string, _ syscall.RawConn) error {
				return g.check(address, named, err == nil)
			},
		}
		return d.DialContext(ctx, network, addr)
	}
}

// check sees the address that is about to be connected to. literal says that
// it was written as an address, not looked up.
func (g *guard) check(address string, named, literal bool) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	ip := ap.Addr().Unmap().WithZone("")
	loopback := ip.IsLoopback() || ip.IsUnspecified()
	private := ip.IsPrivate() || netip.MustParsePrefix("100.64.0.0/10").Contains(ip)
	switch {
	case ip.IsMulticast():
	case metadata(ip):
		if named && literal {
			return nil
		}
	case named:
		if loopback {
			g.loopback.Store(true)
		}
		if private {
			g.private.Store(true)
		}
		return nil
	case loopback:
		if g.loopback.Load() {
			return nil
		}
	case private:
		if g.private.Load() || g.loopback.Load() {
			return nil
		}
	default:
		return nil
	}
	return fmt.Errorf("%s: %w", ip, errForbidden)
}

// metadata are link-local addresses and the places of cloud metadata services.
func metadata(ip netip.Addr) bool {
	return ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast() ||
		ip == netip.MustParseAddr("fd00:ec2::254") || ip == netip.MustParseAddr("100.100.100.200")
}
