package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// serve answers every request with a page until SIGTERM, SIGINT or SIGQUIT.
func serve(name string, args []string) error {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	listen := flags.String("listen", ":80", "address to listen on")
	pidFile := flags.String("pid", "", "file to write the process id to")
	if err := flags.Parse(args); err != nil {
		return err
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	if *pidFile != "" {
		if err := os.MkdirAll(filepath.Dir(*pidFile), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(*pidFile, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o644); err != nil {
			return err
		}
	}
	fmt.Printf("%s: serving on %s\n", name, l.Addr())
	srv := &http.Server{Handler: http.HandlerFunc(page), ReadHeaderTimeout: 10 * time.Second}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
	go func() {
		<-stop
		_ = srv.Close()
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func page(w http.ResponseWriter, r *http.Request) {
	host, _ := os.Hostname()
	fmt.Printf("%s %s\n", r.Method, r.URL.Path)
	fmt.Fprintf(w, "<html><body>It works: %s\n</body></html>\n", host)
}
