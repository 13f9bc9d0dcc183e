package wire

// Version of the protocol. The two ends tell each other theirs in Hello and
// Welcome; a keeper of another version is upgraded in place before it is asked
// for anything else, so Hello, Welcome, Held, Upgrade and Upgraded keep their form.
const Version = 1

// Kind says what a held thing is and so what its end means.
type Kind string

// What the keeper can be asked to start or hold.
const (
	// KindContainer has a record directory: log.json while it runs, exit.json when it has ended.
	KindContainer Kind = "container"
	// KindExec leaves no record. It is reaped at once, because an unreaped
	// exec holds up the end of its container's PID namespace.
	KindExec Kind = "exec"
	// KindPod is a set of namespaces held by descriptors. The process that
	// made them ends soon after; the set stays until Drop.
	KindPod Kind = "pod"
	// KindReaper is PID 1 of a shared PID namespace.
	KindReaper Kind = "reaper"
)

// Names of the descriptors that the keeper itself uses. Every other name is
// held and given back, nothing more.
const (
	FdRecord = "record"  // directory of log.json and exit.json, opened O_RDONLY|O_DIRECTORY
	FdLog    = "log"     // the CRI log file, O_WRONLY|O_APPEND; absent = output is read and thrown away
	FdStdout = "stdout"  // FIFO, O_RDWR
	FdStderr = "stderr"  // FIFO, O_RDWR
	FdStageR = "stage.r" // staging pipe of the log pump, read end
	FdStageW = "stage.w" // staging pipe of the log pump, write end
	FdOOM    = "oom"     // memory.events (v2) or memory.oom_control (v1), O_RDONLY
	FdMaster = "master"  // pty master in place of stdout and stderr
	FdPidfd  = "pidfd"   // of the process; made by the keeper, given with Watch and Held
	// FdLogNext is a log file that a Reopen brought whose answer was lost: the
	// keeper goes on in it, unless log.json shows that the last batch went to FdLog.
	FdLogNext = "log.next"
)

// Message is one of the types of this file.
type Message interface{ name() string }

// Hello is the daemon's first message. No descriptors.
type Hello struct {
	Version int `json:"version"`
}

// Welcome answers Hello; Held messages with the same Seq follow, as many as Held says.
type Welcome struct {
	Version int    `json:"version"`
	Build   string `json:"build"` // digest of the keeper's binary, as the daemon that started it said
	Pid     int    `json:"pid"`   // the keeper's, in its own PID namespace
	Held    int    `json:"held"`
}

// Held is one thing that the keeper holds. Descriptors: as Names says.
type Held struct {
	ID    string   `json:"id"`
	Kind  Kind     `json:"kind"`
	Pid   int      `json:"pid,omitempty"`
	Names []string `json:"names,omitempty"`
	// OOM is the count of OOM kills that was read when the process was started.
	OOM uint64 `json:"oomBase,omitempty"`
	// Exit is set when the process has ended: told again to every new daemon until Drop.
	Exit *Exit `json:"exit,omitempty"`
}

// Spawn starts a program. Descriptors: the sealed memfd of the program, then
// ProgramFds for the program itself (closed after the start), then the named
// ones, which the keeper holds. Answer: Spawned or Failed.
type Spawn struct {
	ID         string   `json:"id"`
	Kind       Kind     `json:"kind"`
	ProgramFds int      `json:"programFds"`
	Names      []string `json:"names,omitempty"`
	// Want names the descriptors that the child offers, in the order of its
	// offer; they are fetched from it with pidfd_getfd, held under these
	// names, and come back in Spawned.
	Want []string `json:"want,omitempty"`
	// TimeoutMS bounds the start in milliseconds; 0 means the keeper's own limit.
	TimeoutMS int64 `json:"timeoutMs,omitempty"`
}

// Spawned answers Spawn. Descriptors: the pidfd unless Pid is 0, then the offered ones in the order of Spawn.Want.
type Spawned struct {
	ID  string `json:"id"`
	Pid int    `json:"pid"` // in the keeper's PID namespace; 0: the program has done its work and ended (a pod)
	OOM uint64 `json:"oomBase,omitempty"`
}

// OK answers a request that has nothing else to say.
type OK struct{}

// Failed answers any request. Index is the step of the program that failed, or
// -1 when the keeper itself failed, then Step and Path say at what.
type Failed struct {
	Index int    `json:"index"`
	Step  string `json:"step,omitempty"`
	Path  string `json:"path,omitempty"`
	Errno int    `json:"errno"`
}

// Hold gives descriptors into custody; a second Hold of an id adds names and replaces those it repeats.
type Hold struct {
	ID    string   `json:"id"`
	Kind  Kind     `json:"kind"`
	Names []string `json:"names"`
}

// Drop ends custody: descriptors are closed, a remembered exit is forgotten. The process is not touched.
type Drop struct {
	ID string `json:"id"`
}

// Watch makes the keeper look after a process that it did not start: found
// running after both had died, or handed over from a keeper that died.
// Descriptors: as Names says, FdPidfd among them.
type Watch struct {
	ID    string   `json:"id"`
	Kind  Kind     `json:"kind"`
	Pid   int      `json:"pid"`
	Names []string `json:"names"`
	OOM   uint64   `json:"oomBase,omitempty"`
}

// Reopen swaps the log file between two batches. Descriptors: the new file, or none to throw the output away.
type Reopen struct {
	ID string `json:"id"`
}

// AttachOut copies the output of a container to a pipe from now on.
// Descriptors: the write end. An attacher that does not read fast enough is
// cut (Detached), the log never waits for it.
type AttachOut struct {
	ID       string `json:"id"`
	Attacher string `json:"attacher"`
	Stdout   bool   `json:"stdout"`
	Stderr   bool   `json:"stderr"`
}

// DetachOut closes the pipe of an attacher. It is no error when it is gone.
type DetachOut struct {
	ID       string `json:"id"`
	Attacher string `json:"attacher"`
}

// Detached is sent with Seq 0 when the keeper cut an attacher.
type Detached struct {
	ID       string `json:"id"`
	Attacher string `json:"attacher"`
	Reason   string `json:"reason"`
}

// Exit is sent with Seq 0 when a process has ended, for an exec with the exec's
// id. It is kept until Drop.
type Exit struct {
	ID         string `json:"id"`
	Kind       Kind   `json:"kind"`
	Code       int    `json:"code"`   // 0-255; 128+Signal when Signal is set
	Signal     int    `json:"signal"` // 0 when the process ended by itself
	OOM        bool   `json:"oom"`
	Unknown    bool   `json:"unknown"`    // nobody could tell the code any more
	FinishedAt int64  `json:"finishedAt"` // unix nanoseconds
	Reason     string `json:"reason,omitempty"`
	// Lost counts bytes of output that could not be written to the log.
	Lost uint64 `json:"lost,omitempty"`
	// Unrecorded is set when exit.json could not be written (a full disk): the daemon must do it.
	Unrecorded bool `json:"unrecorded,omitempty"`
	// Dropped is set when the keeper holds nothing of it any more, as after Drop.
	Dropped bool `json:"dropped,omitempty"`
}

// Upgrade replaces the keeper's program by execve. Descriptors: a sealed memfd
// with the new binary. Answer: Upgraded, sent by the new program on the same
// connection, or Failed by the old one, which then goes on.
type Upgrade struct {
	Build string `json:"build"`
}

// Upgraded is the first message of the new program.
type Upgraded struct {
	Version int    `json:"version"`
	Build   string `json:"build"`
}

// Bye tells that the daemon stops in order. A keeper that holds nothing ends
// after its answer, another one ends when it has nothing left to hold.
type Bye struct{}

// Ping is answered with OK: the keeper's loop runs.
type Ping struct{}

// more carries descriptors that did not fit beside the message before it.
type more struct{}

func (*Hello) name() string     { return "hello" }
func (*Welcome) name() string   { return "welcome" }
func (*Held) name() string      { return "held" }
func (*Spawn) name() string     { return "spawn" }
func (*Spawned) name() string   { return "spawned" }
func (*OK) name() string        { return "ok" }
func (*Failed) name() string    { return "failed" }
func (*Hold) name() string      { return "hold" }
func (*Drop) name() string      { return "drop" }
func (*Watch) name() string     { return "watch" }
func (*Reopen) name() string    { return "reopen" }
func (*AttachOut) name() string { return "attach" }
func (*DetachOut) name() string { return "detach" }
func (*Detached) name() string  { return "detached" }
func (*Exit) name() string      { return "exit" }
func (*Upgrade) name() string   { return "upgrade" }
func (*Upgraded) name() string  { return "upgraded" }
func (*Bye) name() string       { return "bye" }
func (*Ping) name() string      { return "ping" }
func (*more) name() string      { return "more" }

// empty returns a message of the named type to decode into, nil for an unknown name.
func empty(name string) Message {
	for _, m := range []Message{
		&Hello{}, &Welcome{}, &Held{}, &Spawn{}, &Spawned{}, &OK{}, &Failed{}, &Hold{}, &Drop{}, &Watch{},
		&Reopen{}, &AttachOut{}, &DetachOut{}, &Detached{}, &Exit{}, &Upgrade{}, &Upgraded{}, &Bye{}, &Ping{}, &more{},
	} {
		if m.name() == name {
			return m
		}
	}
	return nil
}
