package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"slipway/cni"
	"slipway/sandbox/cgroup"
	"slipway/sandbox/linux"
)

// quarantine moves a directory with a bad record out of the way, whole.
func (p *Pods) quarantine(dir string, cause, left error) error {
	to := filepath.Join(p.o.Root, "quarantine", fmt.Sprintf("%s.%d", filepath.Base(dir), time.Now().Unix()))
	err := os.MkdirAll(filepath.Dir(to), 0o700)
	if err == nil {
		err = os.Rename(dir, to)
	}
	p.log.Error("a record is bad; it was moved to quarantine", "from", dir, "to", to, "cause", cause, "left", left)
	return err
}

// quarantinePod ends a pod that cannot be understood: its containers run for
// nobody, and its address would never be given back. All that its ids and its
// good records name is taken away, then it is moved.
func (p *Pods) quarantinePod(ctx context.Context, id string, cause error) error {
	dir := p.podDir(id)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	parent := p.o.CgroupParent
	errs := []error{}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		path := p.groupOf(filepath.Join(dir, e.Name()), e.Name(), p.o.CgroupParent)
		parent = filepath.Dir(path)
		errs = append(errs, p.endUnknown(ctx, e.Name(), path))
	}
	errs = append(errs, p.killGroup(ctx, cgroup.Place(parent, id)), p.link.drop(ctx, reaperID(id)))
	if a := p.attachmentOf(dir, id); a != nil {
		errs = append(errs, p.o.Network.Detach(ctx, cni.Pod{ID: id}, a))
	}
	errs = append(errs, linux.UnbindNamespace(p.netnsPath(id)), p.link.drop(ctx, id), p.removeFiles(id))
	return p.quarantine(dir, cause, errors.Join(errs...))
}

// attachmentOf reads what DEL needs. Where the record is bad, plugins still know
// the pod by its id: today's configuration serves. nil: nothing was attached.
func (p *Pods) attachmentOf(dir, id string) *cni.Attachment {
	var n netRecord
	err := readRecord(dir, netFile, &n)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return n.Attachment
	}
	a, err := p.o.Network.Attempt(cni.Pod{ID: id, Name: id, NetNS: p.netnsPath(id)})
	if err != nil {
		p.log.Error("the address of a pod sandbox with a bad record stays taken", "pod", id, "error", err)
	}
	return a
}

// quarantineContainer ends a container that cannot be understood.
func (p *Pods) quarantineContainer(ctx context.Context, s *pod, id string, cause error) error {
	dir := p.containerDir(s.id, id)
	left := p.endUnknown(ctx, id, p.groupOf(dir, id, p.cgroupParent(s)))
	return p.quarantine(dir, cause, left)
}

// endUnknown kills a container of which only the id and the cgroup are known,
// and takes away what it had.
func (p *Pods) endUnknown(ctx context.Context, id, group string) error {
	return errors.Join(p.killGroup(ctx, group), p.link.drop(ctx, id), p.o.Images.RemoveRoot(ctx, id), os.RemoveAll(p.ioDir(id)))
}

// groupOf is the cgroup of a container: what its spec says, if that can be
// read, else below parent.
func (p *Pods) groupOf(dir, id, parent string) string {
	if path, ok := recordedGroup(dir, id); ok {
		return path
	}
	return cgroup.Place(parent, id)
}

// recordedGroup reads a container's cgroup from its spec. One that does not end
// in the container's id is somebody else's, whatever the file says.
func recordedGroup(dir, id string) (string, bool) {
	spec, err := readSpec(dir)
	if err != nil || spec.Linux == nil {
		return "", false
	}
	path := spec.Linux.CgroupsPath
	return path, filepath.IsAbs(path) && cgroup.Names(path, id)
}
