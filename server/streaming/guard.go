package streaming

import (
	"net/http"

	"k8s.io/streaming/pkg/httpstream"
)

// guarded lets through what a CRI client or a proxy such as the kubelet sends,
// and no web page: a page that a browser on this host shows can reach loopback.
// A page sends its Origin, and after DNS rebinding the Host of its own name. A
// proxy passes both on from its own client, and says so by X-Forwarded-For,
// which no page can set on a WebSocket, and without an upgrade nothing is served.
func (s *Server) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		direct := r.Header.Get("X-Forwarded-For") == ""
		if direct && (r.Host != s.addr || r.Header.Get("Origin") != "") {
			http.Error(w, "not for browsers, nor by any name but "+s.addr, http.StatusForbidden)
			return
		}
		if !httpstream.IsUpgradeRequest(r) {
			http.Error(w, "an upgrade to SPDY/3.1 or websocket is needed", http.StatusBadRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
