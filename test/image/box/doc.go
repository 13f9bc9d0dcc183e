// Command box is one static program with the names that critest's images need
// and Debian's busybox lacks: nginx and httpd (a web server), nnp (prints its
// effective user id), pgrep and ipcs. The name it is called by decides.
//
// It is not a replacement for those programs: it knows the options and the
// output that critest looks at, and no more.
package main
