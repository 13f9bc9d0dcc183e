// Package adminapi is the wire form of slipway's own gRPC service: what the CRI
// has no request for, such as loading an image from a file.
//
// It is generated from admin.proto, but for this page, and holds no behaviour:
// the service is in server/admin.go, its client in cmd/slipway.
//
// Trap: messages are an interface between versions. A field number is never
// given a second meaning, and a client may be older than the daemon.
package adminapi
