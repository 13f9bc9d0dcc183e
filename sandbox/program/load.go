package program

import "slipway/sandbox/program/runner"

// The keeper's side, for who has both. The keeper itself imports runner: it
// links nothing that knows OCI specs.
type (
	// Loaded is a program ready to be started.
	Loaded = runner.Loaded
	// Child is a process that was started.
	Child = runner.Child
	// Failed is a step that failed.
	Failed = runner.Failed
)

// Load is runner.Load.
func Load(memfd int, fds []int) (*Loaded, error) { return runner.Load(memfd, fds) }
