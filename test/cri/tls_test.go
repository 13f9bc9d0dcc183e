package cri

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/test/node"
	"slipway/test/streams"
)

// With a certificate in the configuration every session goes over TLS.
func TestStreamsOverTLS(t *testing.T) {
	n := newNode(t)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	must(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	cert, key := filepath.Join(n.Setup.Dir, "cert.pem"), filepath.Join(n.Setup.Dir, "key.pem")
	must(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	configure(n, fmt.Sprintf("\nstream_tls_cert = %q\nstream_tls_key = %q\nstream_address = \"[::1]:0\"\nstream_max_sessions_per_pod = 1\n", cert, key))

	podCfg := n.PodConfig("tls")
	id := n.Run(n.RunPod(podCfg), podCfg, node.Container("main", "sleep 1000"))
	both(t, n, func(t *testing.T, n *node.Node, transport string) {
		want := streams.Want{Stdin: true, Stdout: true, TTY: true}
		req := &cri.ExecRequest{ContainerId: id, Cmd: []string{"sh", "-c", "read l; echo got $l; exit 4"}, Stdin: true, Stdout: true, Tty: true}
		var r *cri.ExecResponse
		node.Until(t, "a place is free", func() (ok bool) {
			var err error
			r, err = n.Runtime.Exec(t.Context(), req)
			return err == nil
		})
		if !strings.HasPrefix(r.GetUrl(), "https://[::1]:") {
			t.Errorf("%s", r.GetUrl())
		}
		if _, err := n.Runtime.Exec(t.Context(), req); err == nil || !strings.Contains(err.Error(), "too many streaming sessions") {
			t.Errorf("a second session of a pod that may have one: %v", err)
		}
		c := open(t, transport, r.GetUrl(), want)
		c.say("this\n")
		out, _, code, err := c.Finish()
		if !strings.Contains(out, "got this") || code != 4 || err != nil {
			t.Errorf("%q, code %d, %v", out, code, err)
		}
	})
}
