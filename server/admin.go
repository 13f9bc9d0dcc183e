package server

import (
	"google.golang.org/grpc"

	"slipway/imagestore"
	"slipway/server/adminapi"
)

// adminService answers what the CRI has no request for.
type adminService struct {
	adminapi.UnimplementedAdminServer
	images Images
}

// Import loads the images of a tar that the client streams.
func (s *adminService) Import(in grpc.ClientStreamingServer[adminapi.ImportRequest, adminapi.ImportResponse]) error {
	images, err := s.images.Import(in.Context(), &upload{in: in})
	if err != nil {
		return err
	}
	resp := &adminapi.ImportResponse{}
	for _, img := range images {
		resp.Images = append(resp.Images, adminImage(img))
	}
	return in.SendAndClose(resp)
}

func adminImage(img imagestore.Image) *adminapi.Image {
	return &adminapi.Image{Id: img.ID, Tags: img.Tags, Digests: img.Digests, Size: img.Size}
}

// upload reads the bytes of an Import. It holds one message at a time, and
// waits for the client as long as the connection lasts.
type upload struct {
	in   grpc.ClientStreamingServer[adminapi.ImportRequest, adminapi.ImportResponse]
	rest []byte
	err  error // sticky
}

func (u *upload) Read(p []byte) (int, error) {
	for len(u.rest) == 0 && u.err == nil {
		var m *adminapi.ImportRequest
		m, u.err = u.in.Recv()
		u.rest = m.GetData()
	}
	if len(u.rest) == 0 {
		return 0, u.err
	}
	n := copy(p, u.rest)
	u.rest = u.rest[n:]
	return n, nil
}
