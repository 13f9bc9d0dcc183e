package server

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"slipway/imagestore"
	"slipway/server/adminapi"
)

func send(t *testing.T, s *served, messages ...[]byte) (*adminapi.ImportResponse, error) {
	t.Helper()
	up, err := adminapi.NewAdminClient(s.conn).Import(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		if err := up.Send(&adminapi.ImportRequest{Data: m}); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			break // the answer is there
		}
	}
	return up.CloseAndRecv()
}

func TestImport(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for name, messages := range map[string][][]byte{
		"one message":           {big},
		"many, some empty":      {big[:1], nil, big[1:1000], {}, big[1000:]},
		"nothing":               {},
		"nothing but a message": {nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, &fakePods{}, &fakeImages{images: []imagestore.Image{sampleImage()}})
			resp, err := send(t, s, messages...)
			if err != nil {
				t.Fatal(err)
			}
			if want := bytes.Join(messages, nil); !bytes.Equal(want, s.images.read) {
				t.Errorf("%d bytes arrived, want %d", len(s.images.read), len(want))
			}
			got := resp.GetImages()
			if len(got) != 1 || got[0].GetId() != imgA || len(got[0].GetTags()) != 1 || len(got[0].GetDigests()) != 1 || got[0].GetSize() != 12345 {
				t.Errorf("images are %v", got)
			}
		})
	}
}

func TestImportFails(t *testing.T) {
	s := serve(t, &fakePods{}, &fakeImages{fail: imagestore.ErrCorrupt})
	if _, err := send(t, s, []byte("x")); status.Code(err) != codes.DataLoss {
		t.Errorf("import of a corrupt tar: %v, want DataLoss", err)
	}
}

// A client that goes away in the middle does not look like the end of the tar.
func TestImportCutOff(t *testing.T) {
	u := &upload{in: cutStream{}}
	if n, err := u.Read(make([]byte, 10)); n != 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Read = %d, %v", n, err)
	}
	if _, err := u.Read(make([]byte, 10)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a second Read forgets the error: %v", err)
	}
}

type cutStream struct {
	adminapi.Admin_ImportServer
}

func (cutStream) Recv() (*adminapi.ImportRequest, error) { return nil, io.ErrUnexpectedEOF }
