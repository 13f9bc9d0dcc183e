package registry

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// shown is a URL as an error may show it: no user, no query (a signature is a
// secret), no fragment.
func shown(u *url.URL) string {
	return u.Scheme + "://" + u.Host + u.EscapedPath()
}

// scrub makes text from a registry fit for an error: one short line in which
// none of the secrets occurs.
func scrub(s string, secrets []string) string {
	for _, secret := range secrets {
		if len(secret) > 2 {
			s = strings.ReplaceAll(s, secret, "***")
		}
	}
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "..."
	}
	return strings.TrimSpace(strings.TrimRight(s, ": "))
}

// unreachable marks an error of the transport, without the URL that net/http
// puts into it.
func unreachable(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Errorf("%w: %w", err, ErrUnreachable)
}

func basic(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}
