package sandbox

import (
	"context"
	"os"
	"syscall"

	"slipway/sandbox/linux"
	"slipway/sandbox/program"
)

// keeperStart is what a new keeper needs. The descriptors stay the caller's.
type keeperStart struct {
	Binary   []byte
	Listener int    // descriptor 3 of the keeper
	Log      int    // descriptors 1 and 2
	Build    string // -build
}

// startKeeper starts a keeper that sees no file and inherits nothing but what
// its doc names; it returns its pidfd.
func startKeeper(ctx context.Context, k keeperStart) (int, error) {
	null, err := syscall.Open(os.DevNull, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: os.DevNull, Err: err}
	}
	defer linux.Close(null)
	_, pidfd, err := program.StartKeeper(ctx, program.Keeper{
		Binary: k.Binary,
		Args:   []string{"slipway-keeper", "-build=" + k.Build},
		Files:  []int{null, k.Log, k.Log, k.Listener},
	})
	return pidfd, err
}
