package oci

import (
	"bytes"
	"io"
	"slices"
	"strings"
)

const (
	// maxPasswd bounds /etc/passwd and /etc/group, in bytes (CVE-2025-4437: a
	// huge one exhausts memory).
	maxPasswd = 1 << 20
	// maxGroups is NGROUPS_MAX.
	maxGroups = 65536
)

// User is a resolved UserRequest.
type User struct {
	UID, GID uint32
	Groups   []uint32 // GID first, then the image's, then the request's; no duplicates
	Home     string   // of the passwd entry; "" without one
	Name     string   // of the passwd entry; "" without one
}

// LookupUser resolves a request against the image's /etc/passwd and /etc/group;
// a nil reader stands for a missing file. Both are hostile: lines that are not
// well formed are skipped, and the first line that fits decides.
func LookupUser(passwd, group io.Reader, req UserRequest) (User, error) {
	users, err := readLines(passwd, "/etc/passwd")
	if err != nil {
		return User{}, err
	}
	groups, err := readLines(group, "/etc/group")
	if err != nil {
		return User{}, err
	}
	u, err := findUser(users, req.User)
	if err != nil {
		return User{}, err
	}
	if req.Group != "" {
		if u.GID, err = findGroup(groups, req.Group); err != nil {
			return User{}, err
		}
	}
	u.Groups = []uint32{u.GID}
	if !req.Strict && u.Name != "" {
		u.Groups = append(u.Groups, groupsOf(groups, u.Name)...)
	}
	u.Groups = unique(append(u.Groups, req.Groups...))
	if len(u.Groups) > maxGroups {
		return User{}, invalid("user %q is in %d groups, the most are %d", req.User, len(u.Groups), maxGroups)
	}
	return u, nil
}

func readLines(r io.Reader, name string) ([]string, error) {
	if r == nil {
		return nil, nil
	}
	text, err := io.ReadAll(io.LimitReader(r, maxPasswd+1))
	if err != nil {
		return nil, inField(name+" of the image", err)
	}
	if len(text) > maxPasswd {
		return nil, invalid("%s of the image is larger than %d bytes", name, maxPasswd)
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return nil, invalid("%s of the image holds a NUL byte", name)
	}
	return strings.Split(string(text), "\n"), nil
}

// findUser gives uid, gid, home and name. A number needs no entry; a name does.
func findUser(lines []string, want string) (User, error) {
	if want == "" {
		want = "0"
	}
	id, numeric, err := parseID(want)
	if err != nil {
		return User{}, inField("user", err)
	}
	for _, line := range lines {
		f := strings.Split(line, ":")
		if len(f) != 7 || f[0] == "" || !numeric && f[0] != want {
			continue
		}
		uid, uidOK, uidErr := parseID(f[2])
		gid, gidOK, gidErr := parseID(f[3])
		bad := !uidOK || uidErr != nil || !gidOK || gidErr != nil
		if numeric && (bad || uid != id) {
			continue
		}
		if bad {
			return User{}, invalid("user %q: its line in /etc/passwd has no usable ids", want)
		}
		return User{UID: uid, GID: gid, Home: homeOf(f[5]), Name: f[0]}, nil
	}
	if !numeric {
		return User{}, invalid("user %q is not in /etc/passwd of the image", want)
	}
	return User{UID: id}, nil
}

// homeOf keeps control bytes out of what becomes $HOME (CVE-2026-15809).
func homeOf(s string) string {
	if !strings.HasPrefix(s, "/") || hasControl(s) {
		return ""
	}
	return s
}

func findGroup(lines []string, want string) (uint32, error) {
	id, numeric, err := parseID(want)
	if err != nil {
		return 0, inField("group", err)
	}
	if numeric {
		return id, nil
	}
	for _, line := range lines {
		f := strings.Split(line, ":")
		if len(f) != 4 || f[0] != want {
			continue
		}
		if id, ok, err := parseID(f[2]); ok && err == nil {
			return id, nil
		}
		return 0, invalid("group %q: its line in /etc/group has no usable id", want)
	}
	return 0, invalid("group %q is not in /etc/group of the image", want)
}

func groupsOf(lines []string, user string) []uint32 {
	var out []uint32
	for _, line := range lines {
		f := strings.Split(line, ":")
		if len(f) != 4 || !slices.Contains(strings.Split(f[3], ","), user) {
			continue
		}
		if id, ok, err := parseID(f[2]); ok && err == nil {
			out = append(out, id)
		}
	}
	return out
}

// unique keeps the first of each id.
func unique(ids []uint32) []uint32 {
	seen := make(map[uint32]bool, len(ids))
	out := ids[:0]
	for _, id := range ids {
		if !seen[id] {
			seen[id] = true
			out = append(out, id)
		}
	}
	return out
}
