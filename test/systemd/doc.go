// Package systemd is a systemd manager for tests, on a private bus of its own:
// it answers what slipway asks of the real one, makes no cgroups and moves no
// processes, and can be told to be late, silent or gone.
//
// It is not a D-Bus daemon: it speaks to each client directly, as the daemon and
// systemd in one. Clients find it by DBUS_SYSTEM_BUS_ADDRESS.
package systemd
