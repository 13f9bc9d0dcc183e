// Command app is what the demo runs in a pod: a web server that greets and
// logs, and, as "app whoami", a word about the process and where it runs.
//
// It is not an example of good HTTP; it is all that is in the demo's image, so
// it needs neither a shell nor a C library.
package main
