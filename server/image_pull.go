package server

import (
	"context"
	"encoding/base64"
	"strings"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway/imagestore"
)

// PullImage gets an image and answers with its id: the kubelet compares that
// with Image.id and Container.image_id.
func (s *imageService) PullImage(ctx context.Context, req *cri.PullImageRequest) (*cri.PullImageResponse, error) {
	img, err := s.images.Pull(ctx, imagestore.PullRequest{
		Reference: req.GetImage().GetImage(),
		Auth:      credentials(req.GetAuth()),
	})
	if err != nil {
		return nil, scrub(err, req.GetAuth())
	}
	return &cri.PullImageResponse{ImageRef: img.ID}, nil
}

// credentials translates; nil is anonymous.
func credentials(a *cri.AuthConfig) *imagestore.Auth {
	if a == nil {
		return nil
	}
	return &imagestore.Auth{
		Username:      a.GetUsername(),
		Password:      a.GetPassword(),
		Auth:          a.GetAuth(),
		ServerAddress: a.GetServerAddress(),
		IdentityToken: a.GetIdentityToken(),
		RegistryToken: a.GetRegistryToken(),
	}
}

// scrubbed is an error without the secrets of its request: its text ends in a
// log and in a pod's events, which many may read.
type scrubbed struct {
	error
	text string
}

func (e scrubbed) Error() string { return e.text }
func (e scrubbed) Unwrap() error { return e.error }

// scrub takes the secrets of a out of what err says. The store does not put
// them there; a registry that repeats them in an error page might.
func scrub(err error, a *cri.AuthConfig) error {
	text := err.Error()
	for _, s := range secrets(a) {
		text = strings.ReplaceAll(text, s, "[secret]")
	}
	if text == err.Error() {
		return err
	}
	return scrubbed{err, text}
}

// secrets lists the forms in which the credentials of a could be seen. Very
// short ones are left out: replacing them would only spoil the text.
func secrets(a *cri.AuthConfig) []string {
	all := []string{a.GetAuth(), a.GetIdentityToken(), a.GetRegistryToken()}
	password := a.GetPassword()
	if decoded, err := base64.StdEncoding.DecodeString(a.GetAuth()); err == nil {
		_, p, _ := strings.Cut(string(decoded), ":")
		all = append(all, p)
	}
	if password != "" {
		all = append(all, base64.StdEncoding.EncodeToString([]byte(a.GetUsername()+":"+password)), password)
	}
	var out []string
	for _, s := range all {
		if len(s) >= 4 {
			out = append(out, s)
		}
	}
	return out
}
