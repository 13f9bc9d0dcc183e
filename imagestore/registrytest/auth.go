package registrytest

import (
	"net/http"
	"strings"
)

// Auth is how a Server checks who asks. With Token it hands out bearer tokens
// at /token for user and password, or for the refresh token at the same place;
// without, it wants Basic.
type Auth struct {
	User, Password string
	Token          bool
	// Anonymous hands out tokens without a password.
	Anonymous bool
	// Refresh is the identity token that is good for an access token.
	Refresh string
	// Bearer is the token handed out; "" is "good-token".
	Bearer string
	// Realm takes the place of this server's own.
	Realm string
}

func (a *Auth) bearer() string {
	if a.Bearer == "" {
		return "good-token"
	}
	return a.Bearer
}

// serve answers a request itself, or lets it pass.
func (a *Auth) serve(s *Server, w http.ResponseWriter, r *http.Request) bool {
	if a.Token && r.URL.Path == "/token" {
		a.handOut(w, r)
		return true
	}
	user, password, ok := r.BasicAuth()
	challenge := `Basic realm="test"`
	good := ok && user == a.User && password == a.Password
	if a.Token {
		realm := a.Realm
		if realm == "" {
			realm = s.URL() + "/token"
		}
		challenge = `Bearer realm="` + realm + `",service="test"`
		if path, ok := strings.CutPrefix(r.URL.Path, s.Prefix+"/v2/"); ok {
			if repo, _, ok := cutLast(path, "/manifests/"); ok {
				challenge += `,scope="repository:` + repo + `:pull"`
			}
		}
		good = r.Header.Get("Authorization") == "Bearer "+a.bearer()
	}
	if good {
		return false
	}
	w.Header().Set("WWW-Authenticate", challenge)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = w.Write([]byte(`{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`))
	return true
}

func (a *Auth) handOut(w http.ResponseWriter, r *http.Request) {
	good := a.Anonymous
	if r.Method == http.MethodPost {
		good = a.Refresh != "" && r.PostFormValue("grant_type") == "refresh_token" &&
			r.PostFormValue("refresh_token") == a.Refresh && r.PostFormValue("service") == "test"
	} else if user, password, ok := r.BasicAuth(); ok {
		good = user == a.User && password == a.Password
	}
	if !good {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"token":"` + a.bearer() + `"}`))
}
