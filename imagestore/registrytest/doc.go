// Package registrytest builds images from short descriptions and serves them
// from a registry in memory, on a loopback address, with the faults that a
// test asks for. The demo uses it too, so it works without internet.
//
// It is not a registry to keep anything in, there is no push over HTTP, and no
// program that ships imports it.
//
// The trap: a Server is shared by the goroutines of its clients. Set Auth
// before the first request, and let a fault function be one that many may call.
package registrytest
