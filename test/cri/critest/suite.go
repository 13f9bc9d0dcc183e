package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"slipway/test/machine"
)

// runSuite runs the critest binary and prints the summary of its report.
func runSuite(ctx context.Context, setup *machine.Setup, o options) (bool, error) {
	report := o.report
	if report == "" {
		report = filepath.Join(setup.Dir, "critest.json")
	}
	report, err := filepath.Abs(report)
	if err != nil {
		return false, err
	}
	if err := os.MkdirAll(filepath.Dir(report), 0o755); err != nil {
		return false, err
	}
	if err := os.Remove(report); err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	bin, err := machine.Bin()
	if err != nil {
		return false, err
	}
	temp := filepath.Join(setup.Dir, "tmp")
	if err := os.MkdirAll(temp, 0o777); err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout+time.Minute)
	defer cancel()
	tools := filepath.Join(bin, "tools")
	cmd := exec.CommandContext(ctx, filepath.Join(tools, "critest"), arguments(o, setup.Socket, report)...)
	cmd.Dir = setup.Dir
	cmd.Env = append(os.Environ(), "PATH="+tools+":"+os.Getenv("PATH"), "TMPDIR="+temp)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	start := time.Now()
	ended := runLogged(cmd, withExt(report, ".log"))
	specs, err := readReport(report)
	if err != nil {
		return false, fmt.Errorf("critest wrote no report: %w\n%s", errors.Join(ended, err), machine.Tail(withExt(report, ".log"), 30))
	}
	expected := known()
	if o.serve != "" {
		expected = nil // slipway's list says nothing about another runtime
	}
	passed := summary(os.Stdout, specs, expected, time.Since(start))
	if ended != nil && passed && !anyFailed(specs) {
		return false, fmt.Errorf("no spec failed, but critest did: %w\n%s", ended, machine.Tail(withExt(report, ".log"), 30))
	}
	return passed, nil
}

func anyFailed(specs []spec) bool {
	return slices.ContainsFunc(specs, func(s spec) bool { return s.State == "failed" })
}

func arguments(o options, socket, report string) []string {
	seed := o.seed
	if seed == 0 {
		seed = time.Now().Unix()
	}
	args := []string{
		"-runtime-endpoint=unix://" + socket,
		"-ginkgo.seed=" + strconv.FormatInt(seed, 10),
		"-ginkgo.timeout=" + o.timeout.String(),
		"-ginkgo.no-color",
		"-ginkgo.v",
		"-ginkgo.json-report=" + report,
		"-ginkgo.junit-report=" + withExt(report, ".xml"),
	}
	if o.parallel > 1 { // with 1, ginkgo takes it for go test's own flag and refuses
		args = append(args, "-parallel="+strconv.Itoa(o.parallel))
	}
	for _, s := range skips() {
		args = append(args, "-ginkgo.skip="+s.name)
	}
	if o.skip != "" {
		args = append(args, "-ginkgo.skip="+o.skip)
	}
	if o.focus != "" {
		args = append(args, "-ginkgo.focus="+o.focus)
	}
	if o.websocket {
		args = append(args, "-websocket-exec", "-websocket-attach", "-websocket-portforward")
	}
	return args
}

// runLogged runs the command with its output in a file, and prints a line now
// and then so that a person (and CI) sees it move.
func runLogged(cmd *exec.Cmd, file string) error {
	log, err := os.Create(file)
	if err != nil {
		return err
	}
	defer log.Close()
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	done := make(chan struct{})
	go func() {
		defer close(done)
		progress(r, log)
	}()
	err = cmd.Run()
	_ = w.Close()
	<-done
	return err
}

func progress(r io.Reader, log io.Writer) {
	start, specs := time.Now(), 0
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadString('\n')
		_, _ = io.WriteString(log, line)
		if strings.HasPrefix(line, "• [") {
			if specs++; specs%20 == 0 {
				fmt.Printf("critest: %d specs after %.0f s\n", specs, time.Since(start).Seconds())
			}
		}
		if err != nil {
			return
		}
	}
}

func withExt(file, ext string) string {
	return strings.TrimSuffix(file, filepath.Ext(file)) + ext
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}
