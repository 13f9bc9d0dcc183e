// Package oci turns what the kubelet asks for (the CRI request), what the image
// says (its config) and what the host is into an OCI runtime spec.
//
// It is pure: no file, no system call, no clock. Facts of the host, the content
// of files and lists of devices are passed in; everything it decides can be
// seen in its golden files. It does not look at the root file system, so it
// cannot say whether a path exists.
//
// Its trap is trust. A CRI request is policy and is obeyed after its grammar
// was checked; an image is hostile: its user, environment, working directory,
// volumes and labels must never choose a host path, a uid by a numeric name, a
// device or an annotation. What a request does not ask for is not granted.
package oci
