// Package server is the CRI: RuntimeService and ImageService, and beside them
// slipway's own service, on one unix socket. It translates requests and
// snapshots, logs, and maps errors to gRPC codes.
//
// It decides nothing: whether a request can be done, and how, is said by
// sandbox and imagestore. It keeps no state of its own.
//
// Trap: errors.go is the only file that knows gRPC codes. A handler returns the
// room's error together with an empty reply; whether that is a failure (Status
// of what is gone) or a success (Stop of what is gone) is said there.
package server
