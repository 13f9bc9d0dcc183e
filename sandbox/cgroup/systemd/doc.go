// Package systemd asks a systemd manager for what the cgroup driver needs of it:
// a transient scope around a process, its properties, its end.
//
// It is not a D-Bus library and knows no other unit type. One connection is
// shared and made again when it is lost; each call is bounded by itself, so one
// that hangs delays nobody else, and a systemd that does not read is noticed by
// a bound on writing.
//
// Its trap: the answer to a request for a unit is only a job. The job's end
// comes as a signal, possibly before the answer, so whoever asks listens by the
// unit's name first. And systemd ends the private connection when it executes
// itself again (daemon-reexec): what was under way then is unknown.
package systemd
