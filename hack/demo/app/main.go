package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	err := serve
	if len(os.Args) > 1 && os.Args[1] == "whoami" {
		err = whoami
	}
	if err := err(); err != nil {
		fmt.Fprintln(os.Stderr, "app:", err)
		os.Exit(1)
	}
}

// serve answers on port 8080 until SIGTERM.
func serve() error {
	l, err := net.Listen("tcp", ":8080")
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	fmt.Printf("%s is open on port 8080\n", host)
	srv := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Printf("%s %s for %s\n", r.Method, r.URL.Path, r.RemoteAddr)
		fmt.Fprintf(w, "Hello from %s, process %d of its own world.\n", host, os.Getpid())
	})}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() {
		fmt.Fprintln(os.Stderr, "SIGTERM: good bye")
		_ = srv.Close()
	})
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// whoami prints who the process is and which addresses it sees.
func whoami() error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	var list []string
	for _, a := range addrs {
		list = append(list, a.String())
	}
	fmt.Printf("uid %d, pid %d, host %s, addresses %s\n", os.Getuid(), os.Getpid(), host, strings.Join(list, " "))
	return nil
}
