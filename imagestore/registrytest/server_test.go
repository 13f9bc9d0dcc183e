package registrytest_test

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	"slipway/imagestore/registrytest"
)

func TestServer(t *testing.T) {
	b, err := registrytest.Image{Layers: [][]registrytest.File{{{Name: "a", Body: "hello"}}}, Compression: "none"}.Build()
	if err != nil {
		t.Fatal(err)
	}
	s, err := registrytest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Push("a/b", b, "v1")
	get := func(path, byteRange string) (int, []byte) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if byteRange != "" {
			req.Header.Set("Range", byteRange)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, body
	}
	layer := b.Layers[0]
	want := b.Blobs[layer.Digest]
	if code, body := get("/v2/a/b/manifests/v1", ""); code != 200 || !bytes.Equal(body, b.Document) {
		t.Errorf("manifest: %d %q", code, body)
	}
	if code, body := get("/v2/a/b/blobs/"+layer.Digest.String(), ""); code != 200 || !bytes.Equal(body, want) {
		t.Errorf("blob: %d", code)
	}
	if code, body := get("/v2/a/b/blobs/"+layer.Digest.String(), "bytes=100-"); code != 206 || !bytes.Equal(body, want[100:]) {
		t.Errorf("range: %d", code)
	}
	if code, _ := get("/v2/a/b/manifests/v2", ""); code != 404 {
		t.Errorf("unknown: %d", code)
	}
	s.SetFault(func(*http.Request) *registrytest.Fault { return &registrytest.Fault{Flip: 5} })
	if _, body := get("/v2/a/b/blobs/"+layer.Digest.String(), ""); bytes.Equal(body, want) || len(body) != len(want) {
		t.Error("no bit was flipped")
	}
	s.SetFault(func(*http.Request) *registrytest.Fault { return &registrytest.Fault{Cut: 5} })
	if _, body := get("/v2/a/b/blobs/"+layer.Digest.String(), ""); len(body) != 5 {
		t.Errorf("%d bytes before the cut", len(body))
	}
	if n := s.Count("/blobs/"); n != 4 {
		t.Errorf("%d requests for blobs", n)
	}
}
