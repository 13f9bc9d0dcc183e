// Command pause waits for SIGTERM or SIGINT and ends with status 0.
//
// It is the stand-in for the pause image that critest pulls; slipway itself
// runs no pause container. As PID 1 it reaps nothing.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM, os.Interrupt)
	<-c
}
