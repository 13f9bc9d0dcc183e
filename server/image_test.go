package server

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/imagestore"
)

func sampleCRIImage() *cri.Image {
	return &cri.Image{
		Id:          imgA,
		RepoTags:    []string{"localhost:5000/web:1"},
		RepoDigests: []string{"localhost:5000/web@sha256:77"},
		Size:        12345,
		Uid:         &cri.Int64Value{Value: 1000},
		Pinned:      true,
	}
}

func TestListImages(t *testing.T) {
	for _, streaming := range []bool{false, true} {
		s := serveStreaming(t, &fakePods{}, &fakeImages{images: []imagestore.Image{sampleImage()}}, streaming)
		for ref, found := range map[string]bool{
			"": true, imgA: true, "localhost:5000/web:1": true, "localhost:5000/web@sha256:77": true, "other:1": false,
		} {
			got, err := s.image.ListImages(s.ctx, &cri.ImageFilter{Image: &cri.ImageSpec{Image: ref}})
			if err != nil {
				t.Errorf("%q: %v", ref, err)
			}
			var want []*cri.Image
			if found {
				want = []*cri.Image{sampleCRIImage()}
			}
			if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
				t.Errorf("%q, streaming=%v: %s", ref, streaming, d)
			}
		}
	}
}

func TestImageStatus(t *testing.T) {
	s := serve(t, &fakePods{}, &fakeImages{images: []imagestore.Image{sampleImage()}})
	got, err := s.image.ImageStatus(s.ctx, &cri.ImageSpec{Image: imgA}, false)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(&cri.ImageStatusResponse{Image: sampleCRIImage()}, got, protocmp.Transform()); d != "" {
		t.Error(d)
	}
	got, err = s.image.ImageStatus(s.ctx, &cri.ImageSpec{Image: imgA}, true)
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		ImageSpec struct {
			Config struct{ Entrypoint []string } `json:"config"`
		}
	}
	if err := json.Unmarshal([]byte(got.GetInfo()["info"]), &v); err != nil || len(v.ImageSpec.Config.Entrypoint) != 1 {
		t.Errorf("info is %s: %v", got.GetInfo()["info"], err)
	}
}

func TestImageStatusFails(t *testing.T) {
	s := serve(t, &fakePods{}, &fakeImages{fail: fmt.Errorf("image: %w", imagestore.ErrInvalid)})
	if _, err := s.image.ImageStatus(s.ctx, &cri.ImageSpec{Image: "A B"}, false); err == nil {
		t.Error("a malformed reference is taken as absent")
	}
}

func TestImageUser(t *testing.T) {
	for _, tt := range []struct {
		user, name string
		uid        int64
		noUID      bool
	}{
		{user: "", uid: 0},
		{user: "0", uid: 0},
		{user: "00", uid: 0},
		{user: "1000", uid: 1000},
		{user: "1000:100", uid: 1000},
		{user: ":100", uid: 0},
		{user: "4294967296", uid: 4294967296},
		{user: "99999999999999999999", name: "99999999999999999999", noUID: true},
		{user: "www", name: "www", noUID: true},
		{user: "www:data", name: "www", noUID: true},
		{user: "-1", name: "-1", noUID: true},
		{user: "+5", name: "+5", noUID: true},
		{user: "1a", name: "1a", noUID: true},
	} {
		uid, name := imageUser(tt.user)
		if name != tt.name || (uid == nil) != tt.noUID || uid.GetValue() != tt.uid {
			t.Errorf("USER %q is uid %v, name %q", tt.user, uid, name)
		}
	}
}

func TestPullImage(t *testing.T) {
	s := serve(t, &fakePods{}, &fakeImages{images: []imagestore.Image{sampleImage()}})
	auth := &cri.AuthConfig{
		Username: "u", Password: "p", Auth: "a", ServerAddress: "s", IdentityToken: "i", RegistryToken: "r",
	}
	ref, err := s.image.PullImage(s.ctx, &cri.ImageSpec{Image: "localhost:5000/web:1"}, auth, samplePod(podA, true).Config)
	if err != nil || ref != imgA {
		t.Errorf("PullImage: %q, %v; want the image's id", ref, err)
	}
	want := imagestore.PullRequest{
		Reference: "localhost:5000/web:1",
		Auth:      &imagestore.Auth{Username: "u", Password: "p", Auth: "a", ServerAddress: "s", IdentityToken: "i", RegistryToken: "r"},
	}
	if d := cmp.Diff(want, s.images.pulled); d != "" {
		t.Error(d)
	}
	if _, err := s.image.PullImage(s.ctx, &cri.ImageSpec{Image: "x"}, nil, nil); err != nil || s.images.pulled.Auth != nil {
		t.Errorf("a pull without credentials: %v, %v", s.images.pulled.Auth, err)
	}
}

// The kubelet looks at the start of the message as its client returns it.
func TestRegistryUnavailable(t *testing.T) {
	s := serve(t, &fakePods{}, &fakeImages{fail: fmt.Errorf("pull: %w: connection refused", imagestore.ErrUnreachable)})
	_, err := s.image.PullImage(s.ctx, &cri.ImageSpec{Image: "x"}, nil, nil)
	if err == nil || !strings.HasPrefix(err.Error(), "RegistryUnavailable") {
		t.Errorf("PullImage: %v", err)
	}
	if strings.Contains(s.log.String(), "id=") {
		t.Errorf("the log names what was not made: %s", s.log)
	}
}

// CVE class of containerd 7b11d6ca: credentials in errors end in pod events.
func TestSecretsAreNotRepeated(t *testing.T) {
	const password, identity, bearer = "hunter2-password", "identity-token-1", "bearer-token-22"
	basic := base64.StdEncoding.EncodeToString([]byte("user:" + password))
	echo := fmt.Errorf("registry says: %s %s %s %s: %w", password, basic, identity, bearer, imagestore.ErrDenied)
	s := serve(t, &fakePods{}, &fakeImages{fail: echo})
	for _, auth := range []*cri.AuthConfig{
		{Username: "user", Password: password, IdentityToken: identity, RegistryToken: bearer},
		{Auth: basic, IdentityToken: identity, RegistryToken: bearer},
	} {
		_, err := s.image.PullImage(s.ctx, &cri.ImageSpec{Image: "x"}, auth, nil)
		if err == nil {
			t.Fatal("the pull did not fail")
		}
		for _, secret := range []string{password, basic, identity, bearer} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error repeats %q: %v", secret, err)
			}
			if strings.Contains(s.log.String(), secret) {
				t.Errorf("the log repeats %q", secret)
			}
		}
	}
	if !strings.Contains(s.log.String(), "registry says") {
		t.Error("the failure is not in the log")
	}
	if err := scrub(echo, &cri.AuthConfig{Password: password}); !errors.Is(err, imagestore.ErrDenied) {
		t.Error("the scrubbed error lost its cause")
	}
}

func TestImageFsInfo(t *testing.T) {
	s := serve(t, &fakePods{}, &fakeImages{})
	got, err := s.image.ImageFsInfo(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	for name, list := range map[string][]*cri.FilesystemUsage{
		"image_filesystems": got.GetImageFilesystems(), "container_filesystems": got.GetContainerFilesystems(),
	} {
		if len(list) != 1 || list[0].GetTimestamp() <= 0 || list[0].GetFsId().GetMountpoint() != "/var/lib/slipway/images" ||
			list[0].GetUsedBytes().GetValue() != 1<<20 || list[0].GetInodesUsed().GetValue() != 17 {
			t.Errorf("%s is %v", name, list)
		}
	}
}
