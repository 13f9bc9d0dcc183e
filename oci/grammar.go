package oci

import (
	"path"
	"strings"
)

// Longest texts that a request may carry, in bytes.
const (
	maxName     = 253 // a DNS name; kubelet names are shorter
	maxHostname = 64  // __NEW_UTS_LEN
	maxPath     = 4095
	maxArg      = 128 << 10 // MAX_ARG_STRLEN: execve takes no longer string
)

// checkName takes [A-Za-z0-9][A-Za-z0-9._-]*: names become arguments of CNI
// plugins, where ; and = separate, and lines of files.
func checkName(s string) error {
	switch {
	case s == "":
		return invalid("missing")
	case len(s) > maxName:
		return invalid("%d bytes, the longest is %d", len(s), maxName)
	case !isAlphanumeric(s[0]) || !onlyNameBytes(s):
		return invalid("%q: only letters, digits, dot, underscore and dash, and a letter or digit first", s)
	}
	return nil
}

// checkHostname is checkName with the kernel's length limit; empty is no name.
func checkHostname(s string) error {
	if s == "" {
		return nil
	}
	if len(s) > maxHostname {
		return invalid("%d bytes, the longest is %d", len(s), maxHostname)
	}
	return checkName(s)
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func onlyNameBytes(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// checkNUL refuses the byte that ends a string for the kernel, so that what is
// run is what was asked for.
func checkNUL(s string) error {
	if strings.IndexByte(s, 0) >= 0 {
		return invalid("%q holds a NUL byte", s)
	}
	return nil
}

// hasControl finds bytes that would start a new line or field in a file.
func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// checkPath takes a path that goes to the kernel.
func checkPath(s string) error {
	switch {
	case s == "":
		return invalid("missing")
	case len(s) > maxPath:
		return invalid("%d bytes, the longest path is %d", len(s), maxPath)
	}
	return checkNUL(s)
}

// checkAbsolute takes an absolute path.
func checkAbsolute(s string) error {
	if err := checkPath(s); err != nil {
		return err
	}
	if !path.IsAbs(s) {
		return invalid("%q is not absolute", s)
	}
	return nil
}

// inContainer cleans a path of a container; a relative one starts at the root.
func inContainer(p string) string { return path.Clean("/" + p) }

// below says whether p is dir or lies below it; both are clean.
func below(p, dir string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
}
