package imagestore

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestFormat holds FORMAT.md against the records: each example is read
// strictly and written again, and must not change.
func TestFormat(t *testing.T) {
	doc, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	for title, record := range map[string]any{
		"Image": &imageRecord{}, "Name": &nameRecord{}, "Layer": &layerRecord{}, "Root": &rootRecord{},
	} {
		_, section, ok := strings.Cut(string(doc), "\n## "+title+" record\n")
		m := regexp.MustCompile("(?s)```json\n(.*?)\n```").FindStringSubmatch(section)
		if !ok || m == nil {
			t.Errorf("%s: no example", title)
			continue
		}
		path := filepath.Join(t.TempDir(), "record.json")
		if err := os.WriteFile(path, []byte(m[1]), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := readRecord(path, record); err != nil {
			t.Errorf("%s: %v", title, err)
			continue
		}
		got, err := json.Marshal(record)
		if err != nil || string(got) != m[1] {
			t.Errorf("%s: %v\ngot:  %s\nwant: %s", title, err, got, m[1])
		}
	}
}

func TestRecordsAreStrict(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record.json")
	for _, body := range []string{
		"", "{", `{"version":1,"extra":1}`, `{"version":1}{}`, `[]`, `{"version":"1"}`, strings.Repeat(" ", maxRecord+1),
	} {
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := readRecord(path, &nameRecord{}); err == nil {
			t.Errorf("%.40q was accepted", body)
		}
	}
}

func TestNames(t *testing.T) {
	const hex = "1111111111111111111111111111111111111111111111111111111111111111"
	for in, want := range map[string]string{
		"busybox":                       "docker.io/library/busybox:latest",
		"a/b:1":                         "docker.io/a/b:1",
		"localhost/x":                   "localhost/x:latest",
		"r.test:5000/x/y@sha256:" + hex: "r.test:5000/x/y@sha256:" + hex,
		"x:1@sha256:" + hex:             "docker.io/library/x@sha256:" + hex,
		"docker.io/busybox":             "docker.io/library/busybox:latest",
		"index.docker.io/busybox":       "docker.io/library/busybox:latest",
		"":                              "",
		"A":                             "",
		"x@sha256:11":                   "",
		"../x":                          "",
		"x:1:2":                         "",
		"http://r.test/x":               "",
		hex:                             "",
		strings.Repeat("a", 2000):       "",
		"x\n":                           "",
	} {
		n, err := parseName(in)
		got := ""
		if err == nil {
			got = n.String()
		}
		if got != want {
			t.Errorf("%q: got %q (%v), want %q", in, got, err, want)
		}
	}
}
