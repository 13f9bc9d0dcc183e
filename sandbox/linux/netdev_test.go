package linux

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const netDev = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       2    0    0    0     0          0         0      100       2    0    0    0     0       0          0
  eth0: 18446744073709551615       4    5    6    7     8          9        10       11      12   13   14   15    16      17         18
`

func TestParseInterfaces(t *testing.T) {
	got := parseInterfaces([]byte(netDev + "  bad: 1 2 3\nworse: a b c d e f g h i j k l m n o p\n"))
	want := []Interface{
		{Name: "lo", RxBytes: 100, RxPackets: 2, TxBytes: 100, TxPackets: 2},
		{Name: "eth0", RxBytes: 1<<64 - 1, RxPackets: 4, RxErrors: 5, RxDropped: 6, TxBytes: 11, TxPackets: 12, TxErrors: 13, TxDropped: 14},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got := parseInterfaces([]byte(strings.Repeat(netDev, 1000))); len(got) != maxInterfaces {
		t.Errorf("%d interfaces, want %d", len(got), maxInterfaces)
	}
}

// A name that is no UTF-8 would make a whole reply unfit to be sent.
func FuzzParseInterfaces(f *testing.F) {
	f.Add([]byte(netDev))
	f.Add([]byte("\xff\xfe: 1 2 3 4 5 6 7 8 1 2 3 4 5 6 7 8\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, i := range parseInterfaces(text) {
			if !utf8.ValidString(i.Name) {
				t.Errorf("name %q", i.Name)
			}
		}
	})
}

// The counters are those of the namespace, from every thread, after it has lost
// its last process too.
func TestOpenInterfaces(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	made := make(chan int)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its namespace
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			made <- -1
			return
		}
		fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Error(err)
		}
		made <- fd
	}()
	ns := <-made
	if ns < 0 {
		t.FailNow()
	}
	f, err := OpenInterfaces(ns)
	_ = unix.Close(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range 2 {
		all, err := ReadInterfaces(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range all { // a new namespace has lo, and on some kernels tunnels
			if strings.HasPrefix(i.Name, "eth") || strings.HasPrefix(i.Name, "en") || i.RxBytes != 0 {
				t.Errorf("%+v is not of the new namespace", i)
			}
		}
		if len(all) == 0 || all[0].Name != "lo" {
			t.Errorf("interfaces %+v", all)
		}
	}
}
