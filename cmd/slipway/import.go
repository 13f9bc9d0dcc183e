package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"slipway/server/adminapi"
)

const (
	dialTime  = 5 * time.Second
	chunkSize = 256 << 10 // bytes a message
)

// importImages streams tars into the running daemon and prints what they held.
func importImages(ctx context.Context, std streams, flags *flag.FlagSet, args []string) error {
	s := newSettings(flags)
	s.add(flags, "listen", "listen", "`ADDRESS` of the daemon's socket, unix:///PATH")
	if err := parse(flags, args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return fmt.Errorf("%w: give at least one FILE, - is standard input", errUsage)
	}
	c, err := s.load()
	if err != nil {
		return err
	}
	conn, err := dial(ctx, c.Socket())
	if err != nil {
		return err
	}
	defer conn.Close()

	im := importer{client: adminapi.NewAdminClient(conn), std: std}
	var failed []error
	for _, name := range flags.Args() {
		if err := im.file(ctx, name); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(failed...)
}

// dial connects to a daemon, and says what to do when there is none.
func dial(ctx context.Context, socket string) (*grpc.ClientConn, error) {
	c, err := (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "unix", socket)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("no daemon: there is no socket %s; run slipway serve, or name another with --listen", socket)
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("no daemon: nobody answers on %s; run slipway serve, or name another with --listen", socket)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w; be root, or in the daemon's socket_group", err)
	case err != nil:
		return nil, err
	}
	if err := c.Close(); err != nil {
		return nil, err
	}
	return grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// importer sends one tar after the other.
type importer struct {
	client adminapi.AdminClient
	std    streams
}

func (im importer) file(ctx context.Context, name string) error {
	tar, size := im.std.in, int64(0)
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return bare(err)
		}
		defer f.Close()
		fi, err := f.Stat()
		if err != nil {
			return bare(err)
		}
		if fi.IsDir() {
			return fmt.Errorf("is a directory; if it is an OCI layout: tar -C %s -c . | slipway import -", name)
		}
		tar, size = f, fi.Size()
	}
	resp, err := im.send(ctx, tar, newProgress(im.std.err, name, size))
	if err != nil {
		return err
	}
	for _, img := range resp.GetImages() {
		printImage(im.std.out, img)
	}
	return nil
}

// send streams one tar. The daemon may answer before its end: it has seen
// enough to know that the tar is bad.
func (im importer) send(ctx context.Context, tar io.Reader, p *progress) (*adminapi.ImportResponse, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // so that a tar we cannot read to its end is not taken for a whole one
	defer p.done()
	stream, err := im.client.Import(ctx)
	if err != nil {
		return nil, said(err)
	}
	buf := make([]byte, chunkSize)
	for {
		n, err := tar.Read(buf)
		if n > 0 {
			if err := stream.Send(&adminapi.ImportRequest{Data: buf[:n]}); err != nil {
				break // io.EOF: the reason comes with the answer
			}
			p.add(n)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, bare(err)
		}
	}
	resp, err := stream.CloseAndRecv()
	return resp, said(err)
}

// printImage writes one line for each name, and one for an image without any.
func printImage(w io.Writer, img *adminapi.Image) {
	names := append(img.GetTags(), img.GetDigests()...)
	if len(names) == 0 {
		names = []string{"(no name)"}
	}
	for _, name := range names {
		fmt.Fprintf(w, "%s %s\n", img.GetId(), name)
	}
}

// said is a daemon's error without gRPC's wrapping.
func said(err error) error {
	switch status.Code(err) {
	case codes.OK:
		return nil
	case codes.Unimplemented:
		return errors.New("who answers on this socket cannot import: it is another runtime or an older slipway")
	}
	return errors.New(status.Convert(err).Message())
}

// bare is a file's error without its name, which is said already.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
