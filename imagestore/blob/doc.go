// Package blob writes small files so that they survive a power cut, and keeps
// manifests and image configurations by their digest.
//
// It is not for layers: those are megabytes, are unpacked while they arrive
// and never lie here as they came.
//
// The trap: an fsync that failed is final. The kernel drops the dirty pages
// and the next fsync succeeds; whoever retries believes in bytes that are gone.
// Throw the object away instead.
package blob
