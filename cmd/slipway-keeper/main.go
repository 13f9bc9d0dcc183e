package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"runtime"
	"runtime/debug"

	"slipway/sandbox/keeper"
)

// listenerFd is where the daemon puts the socket.
const listenerFd = 3

func main() {
	build := flag.String("build", "", "digest of this binary")
	state := flag.Int("state", -1, "descriptor of the state that an upgrade left")
	flag.Parse()
	// Small on purpose: each clone of a container copies our page tables, and
	// two threads can pump more than a disk takes.
	runtime.GOMAXPROCS(2)
	debug.SetGCPercent(25)
	debug.SetMemoryLimit(16 << 20)
	if err := run(*build, *state); err != nil {
		fmt.Fprintln(os.Stderr, "slipway-keeper:", err)
		os.Exit(1)
	}
}

func run(build string, state int) error {
	o := keeper.Options{
		Listener: listenerFd, Build: build, Starter: keeper.Programs{},
		Log:  log.New(os.Stderr, "slipway-keeper: ", 0),
		Exec: keeper.Execute,
	}
	if state >= 0 {
		var err error
		if o.Listener, o.Build, err = keeper.ReadState(state); err != nil {
			return fmt.Errorf("state of the keeper before: %w", err)
		}
	}
	return keeper.Run(o, state)
}
