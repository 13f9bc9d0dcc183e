// Package image makes the container images that the tests pull, and serves
// them from a loopback registry.
//
// critest names about twenty images of three public registries. Where the
// tests run there is no internet, so this package builds stand-ins: a shell
// image from Debian's dynamic busybox, and small static programs of this
// repository (box, pause) where critest wants a web server, a set-user-id
// program or a pause container. The same input gives the same digests.
//
// It is not a copy of the upstream images: what critest asks of an image is in
// catalog.go, beside the image, and nothing more is promised. One spec pulls
// by a fixed upstream digest, which nobody can forge; it stays unserved.
//
// Trap: busybox must be the dynamic one. The shell of busybox-static runs
// applets in-process, so "ls" works although /bin/ls is masked, and the
// MaskedPaths spec fails for a reason that has nothing to do with the runtime.
package image
