package seccomp

import "testing"

// Numbers that a table got wrong before, or by chance.
func TestNumbers(t *testing.T) {
	for _, c := range []struct {
		goarch string
		abi    int
		name   string
		want   uint32
	}{
		{"amd64", 0, "newfstatat", 262},
		{"amd64", 0, "rseq_slice_yield", 471},
		{"amd64", 1, "execve", x32Bit | 520},
		{"amd64", 1, "ptrace", x32Bit | 521},
		{"amd64", 1, "read", x32Bit},
		{"amd64", 2, "socket", 359},
		{"arm64", 0, "newfstatat", 79},
		{"arm64", 0, "futex", 98},
		{"arm64", 1, "futex_time64", 422},
	} {
		if got, ok := families[c.goarch][c.abi].number(c.name); !ok || got != c.want {
			t.Errorf("%s %s: %d, want %d", families[c.goarch][c.abi].name, c.name, got, c.want)
		}
	}
	for _, name := range []string{"futex_time64", "fstatat", "open"} {
		if nr, ok := families["arm64"][0].number(name); ok {
			t.Errorf("arm64 has %s: %d", name, nr)
		}
	}
}
