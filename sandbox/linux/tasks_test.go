package linux

import (
	"net"
	"os"
	"testing"
)

func TestTaskState(t *testing.T) {
	for stat, want := range map[string]byte{
		"7 (sh) S 1 7": 'S', "7 (a) R ) D 1": 'D', "7 (": 0, "": 0, "7 (x) ": 0,
	} {
		if got := taskState([]byte(stat)); got != want {
			t.Errorf("%q: %q, want %q", stat, got, want)
		}
	}
}

func TestParseMaxFiles(t *testing.T) {
	const limits = "Limit                     Soft Limit           Hard Limit           Units     \n" +
		"Max cpu time              unlimited            unlimited            seconds   \n" +
		"Max open files            1024                 524288               files     \n"
	if n, ok := parseMaxFiles([]byte(limits)); n != 1024 || !ok {
		t.Errorf("%d, %v", n, ok)
	}
	for _, text := range []string{"", "Max open files", "Max open files   unlimited unlimited files"} {
		if n, ok := parseMaxFiles([]byte(text)); ok {
			t.Errorf("%q: %d", text, n)
		}
	}
}

func TestReadTasks(t *testing.T) {
	self := []int{os.Getpid(), 1 << 30} // the second is nobody's
	before := ReadTasks(self, self[0])
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	after := ReadTasks(self, self[0])
	if !after.FilesKnown || after.Sockets != before.Sockets+1 || after.Files <= before.Files {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if !after.StatesKnown || after.Running == 0 || !after.MaxFilesKnown || after.MaxFiles == 0 {
		t.Errorf("%+v", after)
	}
}

// What is too much to look at is unknown, not a smaller number.
func TestTooManyTasks(t *testing.T) {
	self := make([]int, maxThreads+1)
	for i := range self {
		self[i] = os.Getpid()
	}
	if got := ReadTasks(self, self[0]); got.StatesKnown || got.FilesKnown {
		t.Errorf("%+v", got)
	}
}
