package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestResultsAreDrawn draws every result of the repository: well-formed, with
// each runtime and each figure in it.
func TestResultsAreDrawn(t *testing.T) {
	files, err := filepath.Glob("../../test/bench/results/growth*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no results", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var r result
		if err := json.Unmarshal(data, &r); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if r.Version != version || r.Machine == "" || r.Date.IsZero() || len(r.Rows) == 0 {
			t.Errorf("%s: does not say what, where and when", file)
		}
		picture := draw(&r)
		points := 0
		for _, row := range r.Rows {
			points += len(row.Points)
		}
		if got := strings.Count(picture, "<circle"); got != points {
			t.Errorf("%s: %d of %d points", file, got, points)
		}
		for d := xml.NewDecoder(strings.NewReader(picture)); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
		}
	}
}
