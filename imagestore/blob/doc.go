// Package blob writes small files whole or not at all, and keeps manifests and
// image configurations by their digest.
//
// It is not for layers: those are megabytes, are unpacked while they arrive
// and never lie here as they came.
//
// The trap: a sync that failed is final. The kernel drops the dirty pages
// and the next sync succeeds; whoever retries believes in bytes that are gone.
// Throw the object away instead.
package blob
