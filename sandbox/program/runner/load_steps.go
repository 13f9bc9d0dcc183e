package runner

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// steps puts the steps into the form that the assembler reads. A step marked
// FlagUnmap becomes as many as it takes.
func (d *decoder) steps() error {
	l := d.l
	unmaps := 0
	for i := range d.nstep {
		if word(d.b, headerWords+i*encWords+9)&FlagUnmap != 0 {
			unmaps++
		}
	}
	if unmaps > 1 {
		return fmt.Errorf("%w: memory unmapped %d times", ErrForm, unmaps)
	}
	n := d.nstep + unmaps*maxUnmaps
	var err error
	if l.code, err = mapPrivate(n * int(stepSize)); err != nil {
		return fmt.Errorf("map program: %w", err)
	}
	all := unsafe.Slice((*step)(unsafe.Pointer(&l.code.bytes[0])), n)
	final := make([]int, d.nstep) // where step i has come to lie
	at := 0
	for i := range d.nstep {
		final[i] = at
		if word(d.b, headerWords+i*encWords+9)&FlagUnmap == 0 {
			if err := d.step(&all[at], i, all, final); err != nil {
				return err
			}
			l.origin = append(l.origin, i)
			at++
			continue
		}
		for _, r := range l.unmapList() {
			all[at] = step{nr: unix.SYS_MUNMAP, args: [6]uint64{r.lo, r.hi - r.lo}}
			if r.mayFail {
				all[at].tolerate = 1<<unix.EPERM | 1<<unix.EINVAL
			}
			l.origin = append(l.origin, i)
			at++
		}
	}
	l.steps = all[:at]
	return nil
}

// step decodes step i into s. all and final tell where earlier steps lie.
func (d *decoder) step(s *step, i int, all []step, final []int) error {
	at := headerWords + i*encWords
	kind := word(d.b, at+7)
	*s = step{nr: word(d.b, at), tolerate: word(d.b, at+8), flags: word(d.b, at+9)}
	const known = FlagFork | FlagNote | FlagOffer | FlagExec | 15<<OfferPlace
	if s.flags&^known != 0 || s.nr > 1<<16 {
		return fmt.Errorf("%w: step %d: flags %#x, call %d", ErrForm, i, s.flags, s.nr)
	}
	for a := range s.args {
		v, k := word(d.b, at+1+a), kind>>(4*a)&15
		if k == KindSync {
			d.l.syncs = append(d.l.syncs, patch{&s.args[a]})
			continue
		}
		if k == KindPeer {
			d.l.peers = append(d.l.peers, patch{&s.args[a]})
			continue
		}
		v, err := d.value(k, v, i)
		if err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
		if k == KindSlot {
			s.flags |= 1 << (flagSlot0 + a)
			v = uint64(uintptr(unsafe.Pointer(&all[final[v]].ret)))
		}
		s.args[a] = v
	}
	return nil
}
