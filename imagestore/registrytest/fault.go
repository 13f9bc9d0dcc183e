package registrytest

import (
	"bytes"
	"maps"
	"net/http"
	"strconv"
)

// A Fault is what goes wrong with one request. Status, Redirect and Body take
// the place of the reply; the others apply to blobs.
type Fault struct {
	Status   int               // reply with this and nothing else
	Header   map[string]string // go with Status, Redirect and Body
	Redirect string            // reply 307 to here
	Body     []byte            // reply 200 with this
	Cut      int               // send so many bytes, then break the connection; 0 is not
	Stall    int               // send so many bytes, then nothing; 0 is not, -1 not even one
	Flip     int               // flip a bit of the byte at this place; 0 is not
	Extra    int               // send so many bytes more
	NoRange  bool              // ignore Range
	NoLength bool              // chunked
}

// replace writes the replies that are not the registry's.
func (f *Fault) replace(w http.ResponseWriter) bool {
	for k, v := range maps.All(f.Header) {
		w.Header().Set(k, v)
	}
	switch {
	case f.Redirect != "":
		w.Header().Set("Location", f.Redirect)
		w.WriteHeader(http.StatusTemporaryRedirect)
	case f.Status != 0:
		w.WriteHeader(f.Status)
	case f.Body != nil:
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write(f.Body)
	default:
		return false
	}
	return true
}

// send writes a blob from an offset, with what is wrong with it.
func (f *Fault) send(w http.ResponseWriter, r *http.Request, data []byte, from int) {
	data = append(bytes.Clone(data), make([]byte, f.Extra)...)
	if f.Flip > 0 && f.Flip < len(data) {
		data[f.Flip] ^= 1
	}
	data = data[from:]
	if !f.NoLength {
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	}
	status := http.StatusOK
	if w.Header().Get("Content-Range") != "" {
		status = http.StatusPartialContent
	}
	w.WriteHeader(status)
	control := http.NewResponseController(w)
	switch {
	case f.Cut > 0 && f.Cut < len(data):
		_, _ = w.Write(data[:f.Cut])
		_ = control.Flush()
		panic(http.ErrAbortHandler)
	case f.Stall != 0:
		_, _ = w.Write(data[:min(max(f.Stall, 0), len(data))])
		_ = control.Flush()
		<-r.Context().Done()
	default:
		_, _ = w.Write(data)
	}
}
