package linux

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
)

// Interface is what a network interface has counted since it was made.
type Interface struct {
	Name                                    string // valid UTF-8, whoever chose it
	RxBytes, RxPackets, RxErrors, RxDropped uint64
	TxBytes, TxPackets, TxErrors, TxDropped uint64
}

// Whoever has CAP_NET_ADMIN in a network namespace decides how many interfaces
// there are.
const (
	maxInterfaces    = 256
	maxInterfaceText = 64 << 10
)

// OpenInterfaces opens the counters of the interfaces of a network namespace.
// The file can be read any number of times from any thread; it keeps the
// namespace alive. It is procfs's and not netlink's form because that takes no
// lock of the whole machine: making and removing pods holds that lock for long.
func OpenInterfaces(ns int) (*os.File, error) {
	var f *os.File
	err := InNetwork(ns, func() (err error) {
		f, err = os.Open("/proc/thread-self/net/dev")
		return err
	})
	return f, err
}

// ReadInterfaces reads the counters, lo's too; of more than 256 interfaces the
// first 256.
func ReadInterfaces(f *os.File) ([]Interface, error) {
	text := make([]byte, 4<<10) // two system calls do for some thirty interfaces
	n, err := f.ReadAt(text, 0)
	if err == nil {
		text = make([]byte, maxInterfaceText)
		n, err = f.ReadAt(text, 0)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return parseInterfaces(text[:n]), nil
}

// parseInterfaces reads /proc/net/dev: two lines of headings, then one for each
// interface: its name, a colon, eight numbers of what it received, eight of what
// it sent. A name can hold no colon and no space.
func parseInterfaces(text []byte) (all []Interface) {
	for line := range bytes.Lines(text) {
		name, rest, ok := bytes.Cut(line, []byte{':'})
		fields := bytes.Fields(rest)
		if !ok || len(fields) < 16 || len(all) == maxInterfaces {
			continue
		}
		i := Interface{Name: strings.ToValidUTF8(string(bytes.TrimSpace(name)), "?")}
		fine := true
		for k, into := range map[int]*uint64{
			0: &i.RxBytes, 1: &i.RxPackets, 2: &i.RxErrors, 3: &i.RxDropped,
			8: &i.TxBytes, 9: &i.TxPackets, 10: &i.TxErrors, 11: &i.TxDropped,
		} {
			n, err := strconv.ParseUint(string(fields[k]), 10, 64)
			*into, fine = n, fine && err == nil
		}
		if fine {
			all = append(all, i)
		}
	}
	return all
}
