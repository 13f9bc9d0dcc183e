package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

const version = 1

// result is the file.
type result struct {
	Version  int       `json:"version"`
	Date     time.Time `json:"date"`
	Machine  string    `json:"machine"`
	Load     string    `json:"load"` // averages at the start: what else went on
	Note     string    `json:"note,omitempty"`
	Samples  int       `json:"samples"` // at each number of pods
	Rows     []row     `json:"rows"`
	Runtimes []string  `json:"runtimes"`
}

// row is one measurement.
type row struct {
	Name   string  `json:"name"`
	Unit   string  `json:"unit"`
	Points []point `json:"points"`
}

// point is a measurement of one runtime with some pods on the node.
type point struct {
	Runtime string  `json:"runtime"`
	Pods    int     `json:"pods"`
	Min     float64 `json:"min"`
	Median  float64 `json:"median"`
}

func newResult(samples int) *result {
	load, _ := os.ReadFile("/proc/loadavg")
	return &result{Version: version, Date: time.Now().UTC().Truncate(time.Second), Machine: machine(), Load: strings.TrimSpace(string(load)), Samples: samples}
}

func (r *result) add(name, unit, runtime string, pods int, samples []float64) {
	if len(samples) == 0 {
		return
	}
	i := slices.IndexFunc(r.Rows, func(r row) bool { return r.Name == name })
	if i < 0 {
		i = len(r.Rows)
		r.Rows = append(r.Rows, row{Name: name, Unit: unit})
	}
	slices.Sort(samples)
	r.Rows[i].Points = append(r.Rows[i].Points, point{runtime, pods, samples[0], samples[len(samples)/2]})
}

// machine says what this was measured on.
func machine() string {
	model := runtime.GOARCH
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			if name, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	var info syscall.Sysinfo_t
	_ = syscall.Sysinfo(&info)
	return fmt.Sprintf("%d CPUs, %s, %d GiB, Linux %s", runtime.NumCPU(), model, info.Totalram*uint64(info.Unit)>>30, strings.TrimSpace(string(kernel)))
}
