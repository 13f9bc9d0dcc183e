package sandbox

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Every field of every record stands in FORMAT.md, in the section of its file.
func TestFormatDescribesEachField(t *testing.T) {
	doc, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	for file, record := range map[string]any{
		podFile: podRecord{}, podLimitsFile: podLimitsRecord{}, netFile: netRecord{}, startedFile: processRecord{}, reaperFile: processRecord{},
		stoppedFile: stoppedRecord{}, containerFile: containerRecord{}, resourcesFile: resourcesRecord{}, exitFile: exitRecord{},
	} {
		section := sectionOf(string(doc), file)
		if section == "" {
			t.Errorf("FORMAT.md has no section for %s", file)
			continue
		}
		for f := range reflect.TypeOf(record).Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name != "version" && !strings.Contains(section, "`"+name+"`") {
				t.Errorf("FORMAT.md says nothing of field %q of %s", name, file)
			}
		}
	}
}

func sectionOf(doc, file string) string {
	for section := range strings.SplitSeq(doc, "\n## ") {
		title, text, _ := strings.Cut(section, "\n")
		for name := range strings.SplitSeq(title, ", ") {
			if name == file {
				return text
			}
		}
	}
	return ""
}

func TestRecordsComeBack(t *testing.T) {
	dir := t.TempDir()
	want := exitRecord{Version: formatVersion, Code: 137, Signal: 9, OOM: true, FinishedAt: 5, Reason: "r", Message: "m"}
	if err := writeRecord(dir, exitFile, want); err != nil {
		t.Fatal(err)
	}
	var got exitRecord
	if err := readRecord(dir, exitFile, &got); err != nil || got != want {
		t.Fatalf("got %+v, %v; want %+v", got, err, want)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestTheFirstExitRecordStays(t *testing.T) {
	dir := t.TempDir()
	if err := writeOnce(dir, exitFile, exitRecord{Version: formatVersion, Code: 1}); err != nil {
		t.Fatal(err)
	}
	if err := writeOnce(dir, exitFile, exitRecord{Version: formatVersion, Code: 2}); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("second write: %v, want fs.ErrExist", err)
	}
	var got exitRecord
	if err := readRecord(dir, exitFile, &got); err != nil || got.Code != 1 {
		t.Fatalf("got %+v, %v; want the first", got, err)
	}
}

func TestBadRecordsAreErrors(t *testing.T) {
	for name, text := range map[string]string{
		"empty":     "",
		"cut":       `{"version":1,"id":"a`,
		"zero":      "\x00\x00\x00\x00",
		"newer":     `{"version":2}`,
		"unsigned":  `{"id":"a"}`,
		"not one":   `[]`,
		"bad field": `{"version":1,"created":"yesterday"}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, podFile), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			var r podRecord
			if err := readRecord(dir, podFile, &r); err == nil {
				t.Errorf("%q was read as %+v", text, r)
			}
		})
	}
}

func TestRequestsComeBackAsTheyWere(t *testing.T) {
	want := &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: "c", Attempt: 3},
		Envs:     []*cri.KeyValue{{Key: "BYTES", Value: []byte{0xff, 0, '\n'}}},
		Labels:   map[string]string{"b": "2", "a": "1"},
		Linux:    &cri.LinuxContainerConfig{Resources: &cri.LinuxContainerResources{CpuQuota: -1, Unified: map[string]string{"memory.high": "max"}}},
	}
	a, err := encodeMessage(want)
	if err != nil {
		t.Fatal(err)
	}
	got := &cri.ContainerConfig{}
	if err := decodeMessage(a, got); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for range 10 { // protojson varies white space on purpose; a record must not
		if b, _ := encodeMessage(want); string(b) != string(a) {
			t.Fatalf("two encodings differ:\n%s\n%s", a, b)
		}
	}
}

func TestHowAnEndIsShown(t *testing.T) {
	running := &Container{State: Running, Pid: 7}
	for name, tt := range map[string]struct {
		record exitRecord
		code   int32
		reason string
	}{
		"completed":   {exitRecord{}, 0, ReasonCompleted},
		"error":       {exitRecord{Code: 3}, 3, ReasonError},
		"signal":      {exitRecord{Code: 143, Signal: 15}, 143, ReasonError},
		"oom":         {exitRecord{Code: 137, Signal: 9, OOM: true}, 137, ReasonOOMKilled},
		"start error": {exitRecord{Code: 128, Reason: ReasonStartError}, 128, ReasonStartError},
		"reboot":      {exitRecord{Code: 255, Reason: ReasonNodeReboot}, 255, ReasonNodeReboot},
		"unknown":     {exitRecord{Unknown: true}, 255, ReasonUnknown}, // never an invented 0
	} {
		t.Run(name, func(t *testing.T) {
			got := running.exited(tt.record)
			if got.State != Exited || got.Pid != 0 || got.ExitCode != tt.code || got.Reason != tt.reason {
				t.Errorf("got %+v, want code %d, reason %s", got, tt.code, tt.reason)
			}
			if running.State != Running {
				t.Error("the old snapshot was changed")
			}
		})
	}
}

// A request that is too long for a record is refused: at the next start it
// would be a bad record, and its pod would be ended.
func TestWhatIsWrittenCanBeReadBack(t *testing.T) {
	dir := t.TempDir()
	record := func(n int) podRecord {
		return podRecord{Version: formatVersion, ID: "p", Config: json.RawMessage(`"` + strings.Repeat("x", n) + `"`)}
	}
	empty, err := json.MarshalIndent(record(0), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	longest := maxRecord - 1 - len(empty) // and a new line
	if err := writeRecord(dir, podFile, record(longest)); err != nil {
		t.Fatal(err)
	}
	if err := writeRecord(dir, podFile, record(longest+1)); !errors.Is(err, ErrInvalid) {
		t.Errorf("a byte too long: %v", err)
	}
	var back podRecord
	if err := readRecord(dir, podFile, &back); err != nil || back.ID != "p" {
		t.Errorf("after the refusal: %v, %+v", err, back)
	}
}
