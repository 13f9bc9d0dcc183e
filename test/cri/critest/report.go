package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// spec is the part of ginkgo's JSON report that the summary needs.
type spec struct {
	ContainerHierarchyTexts []string
	LeafNodeType            string
	LeafNodeText            string
	State                   string
	RunTime                 time.Duration
	Failure                 struct{ Message string }
}

func (s spec) text() string {
	return strings.Join(append(slices.Clone(s.ContainerHierarchyTexts), s.LeafNodeText), " ")
}

// readReport returns every spec of a report, and anything else that failed (a
// BeforeSuite, say).
func readReport(file string) ([]spec, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var suites []struct{ SpecReports []spec }
	if err := json.Unmarshal(data, &suites); err != nil {
		return nil, err
	}
	var specs []spec
	for _, suite := range suites {
		for _, s := range suite.SpecReports {
			if s.LeafNodeType == "It" || !slices.Contains([]string{"passed", "skipped"}, s.State) {
				specs = append(specs, s)
			}
		}
	}
	if len(specs) == 0 {
		return nil, errors.New("no specs in it")
	}
	return specs, nil
}

// summary prints what failed and what was skipped and why, then the count, and
// reports whether all is well: something passed, and just what is known to
// fail (known) failed.
func summary(w io.Writer, specs []spec, known []skip, took time.Duration) bool {
	passed, skipped, failed, surprises := 0, 0, 0, 0
	reasons := map[string]int{}
	for _, s := range specs {
		entry, listed := find(known, s.text())
		switch s.State {
		case "passed":
			passed++
			if listed {
				surprises++
				fmt.Fprintf(w, "critest: PASSES, but is listed as known to fail: %s\n", s.text())
			}
		case "skipped", "pending":
			if reason := skipReason(s); reason != "" {
				skipped++
				reasons["skipped: "+reason]++
			}
		default:
			failed++
			if listed {
				reasons["known to fail: "+entry.reason]++
				continue
			}
			surprises++
			fmt.Fprintf(w, "critest: %s: %s\n    %s\n", strings.ToUpper(s.State), s.text(), strings.ReplaceAll(brief(s.Failure.Message), "\n", "\n    "))
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		fmt.Fprintf(w, "critest: %d %s\n", reasons[reason], reason)
	}
	fmt.Fprintf(w, "critest: the suite took %.0f s\n", took.Seconds())
	fmt.Fprintf(w, "critest: %d passed, %d failed, %d skipped\n", passed, failed, skipped)
	return surprises == 0 && passed > 0
}

// brief is the start of a failure's message, without gomega's dump of values.
func brief(message string) string {
	message, _, _ = strings.Cut(strings.TrimSpace(message), "\n\n")
	var kept []string
	for line := range strings.Lines(message) {
		if strings.TrimSpace(line) == "{" || len(kept) == 12 {
			break
		}
		kept = append(kept, line)
	}
	return strings.TrimSpace(strings.Join(kept, ""))
}

// skipReason is the reason a spec was skipped, "" when it was not asked for
// (-focus, -skip, benchmarks).
func skipReason(s spec) string {
	if s.Failure.Message != "" {
		return strings.TrimSpace(s.Failure.Message)
	}
	if entry, ok := find(skips(), s.text()); ok {
		return fmt.Sprintf("%q: %s", s.LeafNodeText, entry.reason)
	}
	return ""
}
