package runner

import "unsafe"

// step is a Step as the assembler reads it; run_*.s knows the offsets.
type step struct {
	nr       uint64
	args     [6]uint64
	flags    uint64 // Flag*
	tolerate uint64 // bit e set: errno e is no failure
	ret      int64  // what the call returned; in the child only
}

const stepSize = unsafe.Sizeof(step{})

// Flags of a step. Bits 8 to 13 are the keeper's: argument i is the address of
// its value, the result of an earlier step.
const (
	FlagFork  = 1 << 1 // a clone: whoever gets a pid from it leaves with 0, the new process goes on
	FlagNote  = 1 << 2 // remember a tolerated errno in status.noted
	FlagOffer = 1 << 3 // write the result to status.offers as well
	FlagExec  = 1 << 4 // an execve: whoever got here without a failure has been started
	FlagUnmap = 1 << 5 // stands for the steps that take the keeper's memory away
	flagSlot0 = 8

	// OfferPlace: the four bits from here say which offer FlagOffer makes.
	OfferPlace = 16
)

// MaxOffers bounds the descriptors that a child can offer.
const MaxOffers = 16

// status is the page that the child shares with the keeper. In a PID namespace
// where others live they can write it: every value is checked, none is a pid.
type status struct {
	errno    uint64 // 0, the errno of the step that failed, or statusFell
	failed   uint64 // index of that step
	progress uint64 // index of the last step that was begun
	noted    uint64 // bit e: a step with FlagNote returned errno e
	offers   [MaxOffers]int64
}

// statusFell: the list ended without an execve that succeeded.
const statusFell = ^uint64(0)

// cloneArgs is struct clone_args of clone3.
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// cloneRun makes the clone3 call; the child runs steps and never returns.
// It returns the child's pid, or a negative errno. All it is given must lie
// outside of the Go heap and stacks, which move.
//
//go:noescape
func cloneRun(args *cloneArgs, size uintptr, steps *step, n uintptr, st *status) (pid int64)

// runnerAddr is where the code of cloneRun begins. The code is all that the
// child needs of the program that cloned it.
func runnerAddr() uintptr

// runnerSize bounds the length of that code (a test measures it).
const runnerSize = 1024
