package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const report = `[{"SpecReports": [
  {"LeafNodeType": "BeforeSuite", "State": "passed"},
  {"LeafNodeType": "It", "LeafNodeText": "runs", "State": "passed"},
  {"LeafNodeType": "It", "ContainerHierarchyTexts": ["[k8s.io] Pod"], "LeafNodeText": "stops", "State": "failed",
   "Failure": {"Message": "timed out\nafter 60 s\n\nlong dump"}},
  {"LeafNodeType": "It", "LeafNodeText": "confines", "State": "skipped", "Failure": {"Message": "AppArmor is disabled on this host"}},
  {"LeafNodeType": "It", "LeafNodeText": "public image with digest should be pulled and removed [Conformance]", "State": "skipped"},
  {"LeafNodeType": "It", "LeafNodeText": "benchmark about pods", "State": "skipped"}
]}]`

func read(t *testing.T, text string) ([]spec, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return readReport(file)
}

func TestSummaryCountsAndGivesReasons(t *testing.T) {
	specs, err := read(t, report)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if summary(&out, specs, nil, 3*time.Second) {
		t.Error("summary says all is well with a failed spec")
	}
	for _, want := range []string{
		"critest: 1 passed, 1 failed, 2 skipped\n",
		"FAILED: [k8s.io] Pod stops\n    timed out\n    after 60 s\n",
		"1 skipped: AppArmor is disabled on this host\n",
		"a digest cannot be forged\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("summary lacks %q:\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "long dump") {
		t.Errorf("summary holds the dump:\n%s", &out)
	}
}

func TestFailedSetupIsNotAPass(t *testing.T) {
	specs, err := read(t, `[{"SpecReports": [{"LeafNodeType": "BeforeSuite", "State": "failed", "Failure": {"Message": "no socket"}}]}]`)
	if err != nil {
		t.Fatal(err)
	}
	if summary(&strings.Builder{}, specs, nil, 0) {
		t.Error("a failed BeforeSuite passes")
	}
}

func TestEmptyReportIsAnError(t *testing.T) {
	if _, err := read(t, `[{"SpecReports": []}]`); err == nil {
		t.Error("a report without specs is accepted")
	}
}

func TestKnownFailuresMustBeJustThose(t *testing.T) {
	specs, err := read(t, report)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if !summary(&out, specs, []skip{{name: "Pod stops", reason: "later"}}, 0) {
		t.Errorf("a known failure fails the run:\n%s", &out)
	}
	if !strings.Contains(out.String(), "critest: 1 known to fail: later\n") || !strings.Contains(out.String(), "1 passed, 1 failed") {
		t.Errorf("the known failure is hidden:\n%s", &out)
	}
	if summary(&out, specs, []skip{{name: "Pod stops"}, {name: "runs"}}, 0) {
		t.Error("a spec that passes may stay on the list of known failures")
	}
}
