// Command slipway is the daemon that kubelets and crictl talk to, and the
// command line for what they have no words for.
//
// main.go finds the subcommand; each has one file. wire.go builds the daemon's
// rooms, once, and is where to see what depends on what.
//
// It is not slipway-keeper: that is a second, far smaller program, which it
// starts and never links.
package main
