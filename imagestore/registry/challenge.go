package registry

import "strings"

// A challenge is one way to authenticate that a 401 offers.
type challenge struct {
	scheme string // lower case
	params map[string]string
}

// maxChallenge bounds one WWW-Authenticate header in bytes.
const maxChallenge = 16 << 10

// choose picks what we can do from the WWW-Authenticate headers, a token
// before a password.
func choose(headers []string) (challenge, bool) {
	var best challenge
	for _, h := range headers {
		if len(h) > maxChallenge {
			continue
		}
		for _, c := range parseChallenges(h) {
			if c.scheme == "bearer" && c.params["realm"] != "" {
				return c, true
			}
			if c.scheme == "basic" {
				best = c
			}
		}
	}
	return best, best.scheme != ""
}

// parseChallenges reads a header that may hold several challenges, each
// `scheme key="value", key=value`.
func parseChallenges(s string) []challenge {
	var list []challenge
	for {
		s = strings.TrimLeft(s, " \t,")
		word, rest := token(s)
		if word == "" {
			return list
		}
		if after := strings.TrimLeft(rest, " \t"); strings.HasPrefix(after, "=") && len(list) > 0 {
			value, rest := paramValue(strings.TrimLeft(after[1:], " \t"))
			list[len(list)-1].params[strings.ToLower(word)] = value
			s = rest
			continue
		}
		list = append(list, challenge{scheme: strings.ToLower(word), params: map[string]string{}})
		s = rest
	}
}

// token cuts off what an HTTP header calls a token.
func token(s string) (word, rest string) {
	i := strings.IndexAny(s, " \t,=\"")
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i:]
}

// paramValue cuts off a quoted string or a token.
func paramValue(s string) (value, rest string) {
	if !strings.HasPrefix(s, `"`) {
		i := strings.IndexAny(s, " \t,")
		if i < 0 {
			return s, ""
		}
		return s[:i], s[i:]
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:]
		case '\\':
			if i++; i < len(s) {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), ""
}
