package streaming

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// command is a session of exec or attach whose streams are open.
type command struct {
	protocol     string
	in           io.Reader
	out, err     io.Writer
	resize       io.Reader
	status       io.Writer
	closeStreams func()
}

// serveCommand opens the streams, runs, and tells how it ended.
func (x *session) serveCommand(w http.ResponseWriter, r *http.Request) error {
	open := x.openSPDY
	if isWebSocket(r) {
		open = x.openWebSocket
	}
	c, err := open(w, r)
	if err != nil {
		return err
	}
	defer func() {
		x.cancel(context.Canceled) // what is written now is written soon or not at all
		c.closeStreams()
	}()
	s := Streams{In: x.reader(c.in), Out: x.writer(c.out), Err: x.writer(c.err)}
	if x.e.want.TTY && c.resize != nil {
		s.Resize = x.sizes(c.resize)
	} else if c.resize != nil { // the connection's reader must not wait for it
		go func() { _, _ = io.Copy(io.Discard, c.resize) }() // ends with closeStreams
	}
	code, err := x.e.run(x.ctx, s)
	if e := c.tell(code, err); e != nil && err == nil && x.ctx.Err() == nil {
		err = fmt.Errorf("tell the client how it ended: %w", e)
	}
	return err
}

// sizes reads a terminal's sizes as they come.
func (x *session) sizes(r io.Reader) func() (rows, cols uint16, ok bool) {
	d := json.NewDecoder(r)
	return func() (rows, cols uint16, ok bool) {
		var size remotecommand.TerminalSize
		if d.Decode(&size) != nil {
			return 0, 0, false
		}
		x.touch()
		return size.Height, size.Width, true
	}
}

// What a client reads at the end; a part of metav1.Status.
type (
	status struct {
		Status  string   `json:"status"`
		Message string   `json:"message,omitempty"`
		Reason  string   `json:"reason,omitempty"`
		Details *details `json:"details,omitempty"`
		Code    int      `json:"code,omitempty"`
	}
	details struct {
		Causes []cause `json:"causes"`
	}
	cause struct {
		Reason  string `json:"reason"`
		Message string `json:"message"`
	}
)

func statusOf(code int, err error) status {
	switch {
	case err != nil:
		return status{Status: "Failure", Reason: "InternalError", Message: err.Error(), Code: http.StatusInternalServerError}
	case code != 0:
		return status{
			Status: "Failure", Reason: remotecommand.NonZeroExitCodeReason,
			Message: fmt.Sprintf("command terminated with exit code %d", code),
			Details: &details{[]cause{{remotecommand.ExitCodeCauseType, fmt.Sprint(code)}}},
		}
	}
	return status{Status: "Success"}
}

// tell writes how it ended. Before version 4 that is a text, and only of what
// went wrong.
func (c *command) tell(code int, err error) error {
	if errors.Is(err, errGone) {
		return nil
	}
	s := statusOf(code, err)
	text := []byte(s.Message)
	if strings.HasPrefix(c.protocol, "v4.") || strings.HasPrefix(c.protocol, "v5.") {
		if text, err = json.Marshal(s); err != nil {
			return err
		}
	}
	if len(text) == 0 {
		return nil
	}
	_, err = c.status.Write(text)
	return err
}
