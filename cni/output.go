package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"

	cnitypes "github.com/containernetworking/cni/pkg/types"
)

const textLimit = 1024 // bytes of a plugin's own words in an error or a log line

// capped keeps the first outputLimit bytes of a stream. With full set, more is
// an error (and full is called); without, more is dropped.
type capped struct {
	buf  bytes.Buffer // not embedded: io.Copy would find its ReadFrom, which knows no limit
	full func()
}

func (c *capped) Write(p []byte) (int, error) {
	room := outputLimit - c.buf.Len()
	if len(p) <= room {
		return c.buf.Write(p)
	}
	_, _ = c.buf.Write(p[:room])
	if c.full == nil {
		return len(p), nil
	}
	c.full()
	return room, errOutput
}

// pluginError says why a plugin failed, in its own words where it has any: the
// JSON error of the specification, else what it wrote to stderr.
func pluginError(cause error, stdout, stderr []byte) error {
	switch {
	case errors.Is(cause, errOutput):
		return cause
	case errors.Is(cause, context.DeadlineExceeded), errors.Is(cause, context.Canceled):
		cause = fmt.Errorf("killed before it ended: %w", cause)
	default:
		var said cnitypes.Error
		if json.Unmarshal(stdout, &said) == nil && (said.Msg != "" || said.Code != 0) {
			text := clean([]byte(strings.TrimSpace(said.Msg+"; "+said.Details)), textLimit)
			return fmt.Errorf("%s (code %d, %w)", strings.TrimSuffix(text, ";"), said.Code, cause)
		}
	}
	if words := clean(tail(stderr), textLimit); words != "" {
		return fmt.Errorf("%w: %q", cause, words)
	}
	if words := clean(stdout, textLimit); words != "" {
		return fmt.Errorf("%w: %q", cause, words)
	}
	return cause
}

// tail is the end of a text, where a program says what it died of.
func tail(b []byte) []byte { return b[max(0, len(b)-textLimit):] }

// clean makes foreign bytes fit for one line of a log.
func clean(b []byte, limit int) string {
	if len(b) > limit {
		b = b[:limit]
	}
	text := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(b), "?"))
	return strings.TrimSpace(text)
}
