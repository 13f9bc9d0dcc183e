package oci

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Real-time signals as glibc counts them: it keeps 32 and 33 for itself.
const (
	sigRTMin = 34
	sigRTMax = 64
)

// signals are the names of the others; the first name of a number is shown.
var signals = []struct {
	name   string
	number syscall.Signal
}{
	{"SIGHUP", 1},
	{"SIGINT", 2},
	{"SIGQUIT", 3},
	{"SIGILL", 4},
	{"SIGTRAP", 5},
	{"SIGABRT", 6},
	{"SIGIOT", 6},
	{"SIGBUS", 7},
	{"SIGFPE", 8},
	{"SIGKILL", 9},
	{"SIGUSR1", 10},
	{"SIGSEGV", 11},
	{"SIGUSR2", 12},
	{"SIGPIPE", 13},
	{"SIGALRM", 14},
	{"SIGTERM", 15},
	{"SIGSTKFLT", 16},
	{"SIGCHLD", 17},
	{"SIGCLD", 17},
	{"SIGCONT", 18},
	{"SIGSTOP", 19},
	{"SIGTSTP", 20},
	{"SIGTTIN", 21},
	{"SIGTTOU", 22},
	{"SIGURG", 23},
	{"SIGXCPU", 24},
	{"SIGXFSZ", 25},
	{"SIGVTALRM", 26},
	{"SIGPROF", 27},
	{"SIGWINCH", 28},
	{"SIGIO", 29},
	{"SIGPOLL", 29},
	{"SIGPWR", 30},
	{"SIGSYS", 31},
}

// StopSignal is the signal that asks a container to stop: the CRI's, else the
// image's STOPSIGNAL (name or number), else SIGTERM.
func StopSignal(c *runtimeapi.ContainerConfig, img ImageConfig) (syscall.Signal, error) {
	if s := c.GetStopSignal(); s != runtimeapi.Signal_SIGNAL_RUNTIME_DEFAULT {
		n, err := parseCRISignal(s)
		return n, inField("stop_signal", err)
	}
	if img.StopSignal == "" {
		return syscall.SIGTERM, nil
	}
	n, err := parseSignal(img.StopSignal)
	return n, inField("stop signal of the image", err)
}

// criPrefix begins the CRI's names of signals, which write RTMINPLUS3 for
// RTMIN+3.
const criPrefix = "SIGNAL_"

func parseCRISignal(s runtimeapi.Signal) (syscall.Signal, error) {
	name, ok := runtimeapi.Signal_name[int32(s)]
	if !ok {
		return 0, invalid("unknown value %d", s)
	}
	name = strings.TrimPrefix(name, criPrefix)
	return parseSignal(strings.NewReplacer("PLUS", "+", "MINUS", "-").Replace(name))
}

// parseSignal reads "SIGTERM", "term", "15", "SIGRTMIN+3", "RTMAX-1".
func parseSignal(s string) (syscall.Signal, error) {
	if isDigits(s) {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > sigRTMax {
			return 0, invalid("signal %q is not in 1..%d", s, sigRTMax)
		}
		return syscall.Signal(n), nil
	}
	name := "SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG")
	for _, k := range signals {
		if k.name == name {
			return k.number, nil
		}
	}
	if n, ok := realTime(name, "SIGRTMIN", '+', sigRTMin, 1); ok {
		return n, nil
	}
	if n, ok := realTime(name, "SIGRTMAX", '-', sigRTMax, -1); ok {
		return n, nil
	}
	return 0, invalid("unknown signal %q", s)
}

func realTime(name, base string, sign byte, from, step int) (syscall.Signal, bool) {
	rest, ok := strings.CutPrefix(name, base)
	if !ok {
		return 0, false
	}
	if rest == "" {
		return syscall.Signal(from), true
	}
	if rest[0] != sign || !isDigits(rest[1:]) {
		return 0, false
	}
	n, err := strconv.Atoi(rest[1:])
	if err != nil || n > sigRTMax-sigRTMin {
		return 0, false
	}
	return syscall.Signal(from + step*n), true
}

// SignalName gives "SIGTERM", "SIGRTMIN+3", "SIGRTMAX-1"; "" for no signal.
// Real-time signals are named from the nearer end, as the CRI does.
func SignalName(s syscall.Signal) string {
	for _, k := range signals {
		if k.number == s {
			return k.name
		}
	}
	switch {
	case s == sigRTMin:
		return "SIGRTMIN"
	case s == sigRTMax:
		return "SIGRTMAX"
	case s > sigRTMin && s <= sigRTMin+15:
		return fmt.Sprintf("SIGRTMIN+%d", s-sigRTMin)
	case s > sigRTMin && s < sigRTMax:
		return fmt.Sprintf("SIGRTMAX-%d", sigRTMax-s)
	}
	return ""
}

// CRISignal gives the CRI's name of a signal, for ContainerStatus.
func CRISignal(s syscall.Signal) runtimeapi.Signal {
	name := strings.NewReplacer("+", "PLUS", "-", "MINUS").Replace(SignalName(s))
	return runtimeapi.Signal(runtimeapi.Signal_value[criPrefix+name])
}
