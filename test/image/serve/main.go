// Command serve builds the test images and serves them on a loopback address
// until SIGTERM or SIGINT.
//
//	go run ./test/image/serve -listen 127.0.0.1:0 -certs-dir DIR -ready-file FILE
//
// DIR gets a hosts.toml for each registry that critest names. FILE gets the
// address, once everything is served. -list prints the names and digests and
// ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"slipway/test/image"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "loopback address to serve on")
	certs := flag.String("certs-dir", "", "directory to fill with hosts.toml files (the daemon's --registry-dir)")
	ready := flag.String("ready-file", "", "file to write the address to when ready")
	list := flag.Bool("list", false, "print names and digests, and end")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen, *certs, *ready, *list); err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, listen, certs, ready string, list bool) error {
	images, err := image.Build(ctx, image.Options{})
	if err != nil {
		return err
	}
	if list {
		return printList(images)
	}
	handler, err := image.Handler(images)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	if ip := l.Addr().(*net.TCPAddr).IP; !ip.IsLoopback() {
		return fmt.Errorf("listen on %s: not a loopback address", ip)
	}
	addr := l.Addr().String()
	if certs != "" {
		if err := image.WriteHosts(certs, addr, image.Hosts()...); err != nil {
			return err
		}
	}
	if ready != "" {
		if err := os.WriteFile(ready, []byte(addr+"\n"), 0o644); err != nil {
			return err
		}
	}
	fmt.Println("serving", len(images), "images on", addr)
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		_ = srv.Close()
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func printList(images []image.Image) error {
	for _, img := range images {
		d, err := img.Image.Digest()
		if err != nil {
			return err
		}
		for _, name := range img.Names {
			fmt.Println(d, name)
		}
	}
	return nil
}
