// Command keeper does what a keeper does, for the tests: it starts one program,
// says how that went, and waits for its end. It begins when its standard input
// ends, so that a test can look at it first.
//
// Descriptors: 3 the program's memfd, 4 and on its descriptors.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"slipway/sandbox/program/runner"
)

func main() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	n, _ := strconv.Atoi(os.Args[1])
	var fds []int
	for i := range n {
		unix.CloseOnExec(4 + i)
		fds = append(fds, 4+i)
	}
	names, err := os.ReadDir("/")
	fmt.Printf("keeper: root %v %v\n", names, err)
	unix.CloseOnExec(3)
	l, err := runner.Load(3, fds)
	if err != nil {
		fmt.Println("keeper:", err)
		os.Exit(1)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := l.Start(ctx)
	var f *runner.Failed
	if errors.As(err, &f) {
		fmt.Printf("failed %d %d\n", f.Step, int(f.Errno))
		os.Exit(1)
	}
	fmt.Printf("keeper: started, %d offered\n", len(c.Offered))
	if c.Pid != 0 {
		_, _ = unix.Wait4(c.Pid, nil, 0, nil)
	}
}
