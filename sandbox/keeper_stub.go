package sandbox

import (
	"context"

	"slipway/sandbox/wire"
)

type linkState struct{}

func open(context.Context, linkOptions) (*link, []held, error)       { return nil, nil, ErrUnavailable }
func (l *link) doSpawn(context.Context, spawn) (child, error)        { return child{}, ErrUnavailable }
func (l *link) doWatch(context.Context, watch) error                 { return ErrUnavailable }
func (l *link) doReopen(context.Context, string, int) error          { return ErrUnavailable }
func (l *link) doHold(context.Context, string, map[string]int) error { return ErrUnavailable }
func (l *link) doDrop(context.Context, string) error                 { return ErrUnavailable }
func (l *link) doAttach(context.Context, wire.AttachOut, int) error  { return ErrUnavailable }
func (l *link) doDetach(context.Context, string, string) error       { return ErrUnavailable }
func (l *link) doPing(context.Context) error                         { return ErrUnavailable }
func (l *link) doClose(bool) error                                   { return nil }
