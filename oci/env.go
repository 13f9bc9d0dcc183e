package oci

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// defaultPath is $PATH where neither image nor request have one.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment is a list of KEY=value where a key has its first place and its
// last value.
type environment []string

func (e environment) index(key string) int {
	return slices.IndexFunc(e, func(s string) bool { return strings.HasPrefix(s, key+"=") })
}

func (e *environment) set(key, value string) {
	entry := key + "=" + value
	if i := e.index(key); i >= 0 {
		(*e)[i] = entry
		return
	}
	*e = append(*e, entry)
}

// environmentOf gives a container's environment: ours, the image's, the
// request's, each over the one before, and HOME where none has it.
func environmentOf(in ContainerInput) ([]string, error) {
	env := environment{defaultPath}
	if in.Container.GetTty() {
		env.set("TERM", "xterm")
	}
	if in.Hostname != "" {
		env.set("HOSTNAME", in.Hostname)
	}
	for _, entry := range in.Image.Env {
		key, value, ok := strings.Cut(entry, "=")
		if !ok || key == "" {
			continue // some builders write such; no program could read it
		}
		if err := checkEnv(key, value); err != nil {
			return nil, invalid("environment of the image: %w", err)
		}
		env.set(key, value)
	}
	for _, kv := range in.Container.GetEnvs() {
		if err := checkEnv(kv.GetKey(), string(kv.GetValue())); err != nil {
			return nil, invalid("envs: %w", err)
		}
		env.set(kv.GetKey(), string(kv.GetValue()))
	}
	if env.index("HOME") < 0 {
		home := in.User.Home
		if home == "" {
			home = "/"
		}
		env.set("HOME", home)
	}
	return cdiEnv(env, in.CDI)
}

func checkEnv(key, value string) error {
	if key == "" || strings.Contains(key, "=") {
		return invalid("key %q", key)
	}
	if err := checkNUL(key); err != nil {
		return err
	}
	if strings.IndexByte(value, 0) >= 0 {
		return invalid("value of %q holds a NUL byte", key) // values may be secrets
	}
	if len(key)+len(value)+1 >= maxArg {
		return invalid("%q: %d bytes, the longest is %d", key, len(key)+len(value)+1, maxArg-1)
	}
	return nil
}

// RestoreEnv puts values of the CRI request back into a spec that was read from
// JSON, whose strings cannot hold all bytes. What a CDI device has set stays.
func RestoreEnv(spec *specs.Spec, c *runtimeapi.ContainerConfig) {
	if spec == nil || spec.Process == nil {
		return
	}
	env := environment(spec.Process.Env)
	for _, kv := range c.GetEnvs() {
		value := string(kv.GetValue())
		if i := env.index(kv.GetKey()); i >= 0 && env[i] == kv.GetKey()+"="+throughJSON(value) {
			env[i] = kv.GetKey() + "=" + value
		}
	}
	spec.Process.Env = env
}

// throughJSON is what is read back of a text that was written as JSON.
func throughJSON(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	return string([]rune(text)) // each byte that is none of UTF-8 becomes U+FFFD
}
