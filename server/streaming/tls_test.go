package streaming

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway/test/streams"
)

// writePair makes a certificate of that name and its key, as files.
func writePair(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	must(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	must(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	return cert, key
}

// Sessions of all kinds work over TLS as they do without.
func TestTLS(t *testing.T) {
	cert, key := writePair(t, t.TempDir(), "first")
	s := listen(t, Options{Cert: cert, Key: key})
	all := Want{Stdin: true, Stdout: true, Stderr: true}
	for _, d := range dialers {
		if !d.halfClose {
			continue // echo waits for it
		}
		t.Run(d.name, func(t *testing.T) {
			url, err := s.Exec("pod", all, echo)
			must(t, err)
			if !strings.HasPrefix(url, "https://") {
				t.Fatal(url)
			}
			c, err := d.dial(bounded(t), url, streams.Want(all))
			must(t, err)
			defer c.Close()
			text := strings.Repeat("x", 200_000)
			go func() {
				_, _ = io.WriteString(c.In, text)
				_ = c.In.Close()
			}()
			if out, _, code, err := c.Finish(); out != "out "+text || code != 7 || err != nil {
				t.Errorf("%d bytes, code %d, %v", len(out), code, err)
			}
		})
	}
	for _, f := range forwarders {
		t.Run(f.name, func(t *testing.T) {
			url, err := s.Forward("pod", nil, answer)
			must(t, err)
			c, err := f.dial(bounded(t), url)
			must(t, err)
			defer c.Close()
			data, _, err := c.Connect(80)
			must(t, err)
			_, err = io.WriteString(data, "hi")
			must(t, err)
			must(t, data.Close())
			if b, err := io.ReadAll(data); string(b) != "80: hi" || err != nil {
				t.Errorf("%q, %v", b, err)
			}
		})
	}

	// A client that goes away is noticed, and a plain one gets nothing.
	got := make(chan error, 1)
	url, err := s.Exec("pod", all, func(ctx context.Context, st Streams) (int, error) {
		fmt.Fprint(st.Out, "ready")
		<-ctx.Done()
		got <- context.Cause(ctx)
		return 0, context.Cause(ctx)
	})
	must(t, err)
	c, err := streams.SPDY(bounded(t), url, streams.Want(all))
	must(t, err)
	ready(t, c)
	c.Close()
	select {
	case err := <-got:
		if err != errGone {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(giveUp):
		t.Error("the session goes on without its client")
	}
	url, err = s.Exec("pod", all, echo)
	must(t, err)
	if _, err := streams.SPDY(bounded(t), strings.Replace(url, "https", "http", 1), streams.Want(all)); err == nil {
		t.Error("a session in clear")
	}
}

// A new pair is used without a restart; one that is no pair is refused at once.
func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	cert, key := writePair(t, dir, "first")
	s := listen(t, Options{Cert: cert, Key: key})
	for _, name := range []string{"first", "second"} {
		writePair(t, dir, name)
		c, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
		must(t, err)
		state := c.ConnectionState()
		if got := state.PeerCertificates[0].Subject.CommonName; got != name || state.NegotiatedProtocol != "http/1.1" {
			t.Errorf("certificate of %q over %q, want %q", got, state.NegotiatedProtocol, name)
		}
		c.Close()
	}
	for _, o := range []Options{{Cert: cert}, {Cert: key, Key: key}, {Cert: filepath.Join(dir, "none"), Key: key}} {
		if s, err := Listen(o); err == nil {
			t.Errorf("listens with %+v", o)
			_ = s.Close(t.Context())
		}
	}
}
