// Package conf holds the daemon's settings: their defaults, the file and its
// drop-ins, and what a value may be.
//
// It is not where settings are used: only the command imports it and hands
// each room what it needs. It asks the world nothing but the files themselves;
// whether a group exists or a directory can be made is found out at start.
//
// The file is TOML (see [Config.TOML], or "slipway config default", for every
// key with its meaning). Values are taken in this order, the later wins:
//
//  1. the defaults;
//  2. /etc/slipway/config.toml, or the file given by --config. The default
//     file may be missing, a file that was asked for may not;
//  3. the drop-ins: every *.toml in the directory named as the file with ".d"
//     appended, in the order of their names. A drop-in needs no main file. A
//     list replaces the list before it, and handlers are merged key by key;
//  4. the command line ([Config.Set]).
//
// A key that does not exist is an error that names file, line and key. On
// SIGHUP the files are read again and [Config.Reload] takes over the keys that
// can change while running; the others are named and wait for a restart.
//
// The trap: Load does not validate, because the command line comes after it.
// Call [Config.Validate] when all is set.
package conf
