// Package cni attaches pods to the network and detaches them, as the first
// valid configuration in a directory says: by running its plugins, or, when all
// of them are ones that cni/native knows with keys that it knows, in process.
// A list is never split between the two, and whoever did ADD does DEL: the
// record says who.
//
// It is not an implementation of any network itself: bridges, addresses and
// host ports are the work of the plugins or of cni/native.
//
// libcni is used alone, without go-cni: go-cni has no option for a cache
// directory (its cache would be /var/lib/cni, shared with every other runtime
// on the host), runs plugins without a hook (no kill of a process group, no
// limit on output), and takes one lock around all its calls.
//
// An attachment has two records. [Network.Attempt] fixes everything a DEL
// will need (configuration, arguments, namespace) before any plugin runs; the
// caller makes it durable. [Network.Attach] runs ADD and returns the same
// record with the result. [Network.Detach] needs the record and nothing else:
// the configuration may have changed, a plugin may have moved, the network
// namespace may be gone.
//
// The trap: a plugin is a foreign program. Its output is hostile until
// checked (see result.go), it may hang or leave children behind (see run.go),
// and no lock is held while it runs, so calls for different pods overlap;
// calls for one pod must not, and the caller sees to that.
package cni
