package linux

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// Tasks is what the processes of a container are doing. A container decides how
// many threads and files there are: a part with more than ReadTasks looks at is
// not known.
type Tasks struct {
	StatesKnown                                 bool
	Running, Sleeping, Stopped, Uninterruptible uint64 // threads

	FilesKnown     bool
	Files, Sockets uint64 // open file descriptors, and those of sockets

	MaxFilesKnown bool
	MaxFiles      uint64 // soft limit of open files of the first process
}

// How many threads and open files one ReadTasks looks at.
const (
	maxThreads = 4096
	maxFiles   = 16384
)

// ReadTasks looks at processes; init is the container's first one. What it reads
// of procfs waits for no memory lock and no file system.
func ReadTasks(pids []int, init int) Tasks {
	t := Tasks{StatesKnown: true, FilesKnown: true}
	threads, files := maxThreads, maxFiles
	for _, pid := range pids {
		at := "/proc/" + strconv.Itoa(pid)
		t.addThreads(at, &threads)
		t.addFiles(at, &files)
	}
	if text, err := os.ReadFile("/proc/" + strconv.Itoa(init) + "/limits"); err == nil {
		t.MaxFiles, t.MaxFilesKnown = parseMaxFiles(text)
	}
	return t
}

func (t *Tasks) addThreads(process string, left *int) {
	names, more := names(process+"/task", *left)
	*left -= len(names)
	t.StatesKnown = t.StatesKnown && !more
	if !t.StatesKnown {
		return
	}
	for _, tid := range names {
		text, err := os.ReadFile(process + "/task/" + tid + "/stat")
		if err != nil {
			continue // it has ended
		}
		switch taskState(text) {
		case 'R':
			t.Running++
		case 'S', 'I':
			t.Sleeping++
		case 'T', 't':
			t.Stopped++
		case 'D':
			t.Uninterruptible++
		}
	}
}

// taskState finds the field after the command, which is in parentheses and may
// hold anything.
func taskState(stat []byte) byte {
	i := bytes.LastIndex(stat, []byte(") "))
	if i < 0 || i+2 >= len(stat) {
		return 0
	}
	return stat[i+2]
}

func (t *Tasks) addFiles(process string, left *int) {
	names, more := names(process+"/fd", *left)
	*left -= len(names)
	t.FilesKnown = t.FilesKnown && !more
	if !t.FilesKnown {
		return
	}
	for _, fd := range names {
		to, err := os.Readlink(process + "/fd/" + fd)
		if err != nil {
			continue // closed meanwhile
		}
		t.Files++
		if strings.HasPrefix(to, "socket:") {
			t.Sockets++
		}
	}
}

// names reads a directory of procfs; more: it has more than limit entries. One
// that is gone has none.
func names(path string, limit int) (all []string, more bool) {
	d, err := os.Open(path)
	if err != nil {
		return nil, false
	}
	defer d.Close()
	all, _ = d.Readdirnames(limit + 1)
	if len(all) > limit {
		return all[:limit], true
	}
	return all, false
}

// parseMaxFiles reads "Max open files  1024  4096  files"; unlimited is unknown.
func parseMaxFiles(limits []byte) (soft uint64, known bool) {
	for line := range bytes.Lines(limits) {
		rest, ok := bytes.CutPrefix(line, []byte("Max open files"))
		fields := bytes.Fields(rest)
		if !ok || len(fields) == 0 {
			continue
		}
		n, err := strconv.ParseUint(string(fields[0]), 10, 64)
		return n, err == nil
	}
	return 0, false
}

// BlockDevice is the path of a block device's usual name, such as "/dev/sda1".
// One that sysfs does not know, as those of btrfs and overlayfs, is "8:1".
func BlockDevice(major, minor uint64) string {
	number := strconv.FormatUint(major, 10) + ":" + strconv.FormatUint(minor, 10)
	to, err := os.Readlink("/sys/dev/block/" + number)
	if err != nil {
		return number
	}
	name := to[strings.LastIndexByte(to, '/')+1:]
	return "/dev/" + strings.ReplaceAll(name, "!", "/") // cciss!c0d0
}
