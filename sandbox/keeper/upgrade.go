package keeper

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"slipway/sandbox/linux"
	"slipway/sandbox/logfile"
	"slipway/sandbox/wire"
)

// upgradeLimit bounds the wait for starts, ends and batches under way.
const upgradeLimit = 10 * time.Second

// state is what one program of this process tells the next: everything that is
// not in a descriptor. Fields may be added; a newer program reads older states.
type state struct {
	Version  int         `json:"version"`
	Build    string      `json:"build"` // of the new program
	Listener int         `json:"listener"`
	Conn     int         `json:"conn"` // the daemon that asked
	Seq      uint64      `json:"seq"`  // of its Upgrade
	Items    []itemState `json:"items"`
}

type itemState struct {
	ID       string          `json:"id"`
	Kind     wire.Kind       `json:"kind"`
	Pid      int             `json:"pid"`
	OOM      uint64          `json:"oomBase,omitempty"`
	Fds      map[string]int  `json:"fds"`
	Exit     *wire.Exit      `json:"exit,omitempty"`
	Attached []attacherState `json:"attached,omitempty"`
	Partial  logfile.State   `json:"partial"`
	Lost     uint64          `json:"lost,omitempty"`
	Dropped  uint64          `json:"dropped,omitempty"`
}

type attacherState struct {
	ID     string  `json:"id"`
	Fd     int     `json:"fd"`
	Stream [2]bool `json:"stream"`
}

// upgrade replaces this program by the one in a sealed memfd: same process,
// same children, same descriptors. It returns only when that failed; then
// everything goes on as before. It runs in the goroutine that reads requests,
// so none comes in between.
func (k *Keeper) upgrade(s *session, seq uint64, build string, fds []int) error {
	defer wire.CloseAll(fds)
	if len(fds) != 1 || k.o.Exec == nil {
		return &wire.Error{Step: "upgrade", Errno: syscall.EINVAL}
	}
	k.loop.stop() // no new ends, no new pumps
	defer func() { go k.spin() }()
	paused, err := k.pause(time.Now().Add(upgradeLimit))
	defer func() {
		for _, p := range paused {
			p.give()
		}
	}()
	if err != nil {
		return err
	}
	k.mu.Lock() // held to the end: a late reader of the table must not see half of it
	defer k.mu.Unlock()
	memfd, keep, err := k.save(s, seq, build)
	if err != nil {
		return err
	}
	defer unix.Close(memfd)
	keep = append(keep, memfd)
	inherit(keep, true)
	defer inherit(keep, false)
	err = k.o.Exec(fds[0], memfd)
	return &wire.Error{Step: "execute the new keeper", Errno: errnoOf(err)}
}

// pause waits until nothing is under way and takes the turn of every pump.
func (k *Keeper) pause(end time.Time) ([]*pump, error) {
	busy := &wire.Error{Step: "upgrade: a start or an end is under way", Errno: syscall.EBUSY}
	for {
		k.mu.Lock()
		idle := k.working == 0
		var pumps []*pump
		for _, it := range k.items {
			if it.pump != nil {
				pumps = append(pumps, it.pump)
			}
		}
		k.mu.Unlock()
		if idle {
			return takeAll(pumps, end)
		}
		if time.Now().After(end) {
			return nil, busy
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// takeAll takes the turn of every pump; those that were taken are returned in any case.
func takeAll(pumps []*pump, end time.Time) ([]*pump, error) {
	for i, p := range pumps {
		if !p.take(time.Until(end)) {
			return pumps[:i], &wire.Error{Step: "upgrade: a write to the log does not end", Path: p.item.id, Errno: syscall.EBUSY}
		}
	}
	return pumps, nil
}

// save writes the state into a memfd and returns the descriptors that the new
// program shall have. Under mu.
func (k *Keeper) save(s *session, seq uint64, build string) (memfd int, keep []int, err error) {
	st := state{Version: 1, Build: build, Listener: k.o.Listener, Seq: seq}
	if err := s.conn.Fd(func(fd int) { st.Conn = fd }); err != nil {
		return -1, nil, fmt.Errorf("upgrade: %w", err)
	}
	keep = append(keep, st.Listener, st.Conn)
	for _, it := range k.items {
		is := it.save()
		for _, fd := range is.Fds {
			keep = append(keep, fd)
		}
		for _, a := range is.Attached {
			keep = append(keep, a.Fd)
		}
		st.Items = append(st.Items, is)
	}
	b, err := json.Marshal(st)
	if err != nil {
		return -1, nil, fmt.Errorf("upgrade: %w", err)
	}
	memfd, err = unix.MemfdCreate("state", unix.MFD_CLOEXEC)
	if err != nil {
		return -1, nil, fmt.Errorf("upgrade: %w", err)
	}
	if n, err := unix.Write(memfd, b); err != nil || n != len(b) {
		unix.Close(memfd)
		return -1, nil, &wire.Error{Step: "upgrade: write state", Errno: syscall.EIO}
	}
	return memfd, keep, nil
}

func (it *item) save() itemState {
	is := itemState{ID: it.id, Kind: it.kind, Pid: it.pid, OOM: it.oom, Fds: it.fds, Exit: it.exit}
	if p := it.pump; p != nil { // its turn is taken
		is.Partial, is.Lost, is.Dropped = p.framer.State(), p.lost, p.dropped
		for _, a := range p.attached {
			is.Attached = append(is.Attached, attacherState{a.id, a.fd, a.stream})
		}
	}
	return is
}

// inherit says of descriptors whether they survive execve.
func inherit(fds []int, yes bool) {
	flag := unix.FD_CLOEXEC
	if yes {
		flag = 0
	}
	for _, fd := range fds {
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFD, flag)
	}
}

// ReadState returns the listener and the build that the program before left in
// a state memfd, for Options.
func ReadState(memfd int) (listener int, build string, err error) {
	st, err := readState(memfd)
	return st.Listener, st.Build, err
}

const maxState = 64 << 20

func readState(memfd int) (state, error) {
	fd, err := duplicate(memfd)
	if err != nil {
		return state{}, err
	}
	f := os.NewFile(uintptr(fd), "state")
	defer f.Close()
	var st state
	if err := json.NewDecoder(io.NewSectionReader(f, 0, maxState)).Decode(&st); err != nil {
		return state{}, err
	}
	if st.Version != 1 {
		return state{}, fmt.Errorf("version %d is not known", st.Version)
	}
	return st, nil
}

// restore takes over what the program before held, and answers its Upgrade.
func (k *Keeper) restore(memfd int) (*session, error) {
	defer unix.Close(memfd)
	st, err := readState(memfd)
	if err != nil {
		return nil, err
	}
	keep := []int{st.Listener, st.Conn}
	for _, is := range st.Items {
		for _, fd := range is.Fds {
			keep = append(keep, fd)
		}
		for _, a := range is.Attached {
			keep = append(keep, a.Fd)
		}
	}
	inherit(keep, false)
	c, err := wire.NewConn(st.Conn)
	if err != nil {
		return nil, err
	}
	s := &session{k: k, conn: c}
	k.session = s
	for _, is := range st.Items {
		if err := k.restoreItem(is); err != nil {
			k.log.Printf("%s: %v", is.ID, err)
		}
	}
	s.send(st.Seq, &wire.Upgraded{Version: wire.Version, Build: k.o.Build})
	return s, nil
}

func (k *Keeper) restoreItem(is itemState) error {
	it := &item{id: is.ID, kind: is.Kind, pid: is.Pid, oom: is.OOM, fds: is.Fds, exit: is.Exit}
	if it.fds == nil {
		it.fds = map[string]int{}
	}
	k.items[it.id] = it
	if it.pid == 0 || it.exit != nil {
		return nil
	}
	k.follow(it)
	if p := it.pump; p != nil && p.take(turnLimit) {
		p.framer.Restore(is.Partial)
		p.lost, p.dropped = is.Lost, is.Dropped
		for _, a := range is.Attached {
			p.attached = append(p.attached, attacher{a.ID, a.Fd, a.Stream})
		}
		p.give()
	}
	return k.expect(it)
}

// Execute is Options.Exec of a real keeper: execve of a memfd, without a path.
// The new program gets its state as descriptor number in its one argument.
func Execute(binary, state int) error {
	const name = "slipway-keeper"
	return linux.ExecFd(binary, []string{name, fmt.Sprintf("-state=%d", state)}, os.Environ())
}
