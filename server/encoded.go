package server

import (
	"sync/atomic"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// encodedItems remembers how the items of a list are encoded. A kubelet lists
// everything each second, and nearly nothing has changed: encoding the maps of
// labels and annotations again was most of the work. Snapshots are never
// changed, only replaced, so an item's encoding is good as long as its snapshot.
type encodedItems[S comparable] struct {
	known atomic.Pointer[map[S][]byte]
}

// itemsField is the number of the repeated field in the responses of lists.
const itemsField protowire.Number = 1

// response puts those of all snapshots that match into resp, which has items in
// the field itemsField, as bytes that are sent as they are: who reads resp in
// this process does not see them.
func (e *encodedItems[S]) response(resp proto.Message, all []S, match func(S) bool, item func(S) proto.Message) error {
	var known map[S][]byte
	if m := e.known.Load(); m != nil {
		known = *m
	}
	fresh := map[S][]byte{}
	raw := make([]byte, 0, len(all)*usualItem)
	for _, s := range all {
		if !match(s) {
			continue
		}
		b, ok := known[s]
		if !ok {
			body, err := proto.Marshal(item(s))
			if err != nil {
				return err
			}
			b = protowire.AppendBytes(protowire.AppendTag(nil, itemsField, protowire.BytesType), body)
			fresh[s] = b
		}
		raw = append(raw, b...)
	}
	resp.ProtoReflect().SetUnknown(raw)
	if len(fresh) > 0 || len(known) > len(all) {
		e.renew(known, fresh, all)
	}
	return nil
}

// usualItem is about as many bytes as an item of a list has.
const usualItem = 512

// renew forgets what there is no more. When two lists do it at once one of them
// encodes again next time.
func (e *encodedItems[S]) renew(known, fresh map[S][]byte, all []S) {
	now := make(map[S][]byte, len(all))
	for _, s := range all {
		if b, ok := fresh[s]; ok {
			now[s] = b
		} else if b, ok := known[s]; ok {
			now[s] = b
		}
	}
	e.known.Store(&now)
}
