package sandbox

import (
	"context"
	"errors"
	"fmt"
)

// undo is what has been made on the way, to be taken back in reverse when the
// whole fails. Success is *err == nil when run is called, nothing else.
type undo struct {
	steps []func(context.Context) error
}

func newUndo() *undo { return &undo{} }

// add announces the undoing of a step; a step's undo must stand an effect that
// was not made.
func (u *undo) add(step func(context.Context) error) { u.steps = append(u.steps, step) }

// run undoes when *err is set, also after the request's context has ended. What
// could not be undone is added to *err.
func (u *undo) run(ctx context.Context, err *error) {
	if *err == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
	defer cancel()
	var left []error
	for i := len(u.steps) - 1; i >= 0; i-- {
		if e := u.steps[i](ctx); e != nil {
			left = append(left, e)
		}
	}
	if len(left) > 0 {
		*err = fmt.Errorf("%w (and could not be undone: %w)", *err, errors.Join(left...))
	}
}
