package streaming

import (
	"crypto/tls"
	"fmt"
	"net"
)

// tls gives what makes a listener one of TLS, or leaves it as it is. A pair
// that cannot be used is found now, not at the first session.
func (o *Options) tls() (func(net.Listener) net.Listener, error) {
	if o.Cert == "" && o.Key == "" {
		return func(l net.Listener) net.Listener { return l }, nil
	}
	load := func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(o.Cert, o.Key)
		if err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		return &pair, nil
	}
	if _, err := load(nil); err != nil {
		return nil, err
	}
	c := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: load,
		NextProtos:     []string{"http/1.1"}, // sessions are upgrades, which HTTP/2 has not
	}
	return func(l net.Listener) net.Listener { return tls.NewListener(l, c) }, nil
}
