package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	var err error
	switch name := filepath.Base(os.Args[0]); name {
	case "nginx", "httpd":
		err = serve(name, os.Args[1:])
	case "nnp":
		fmt.Printf("Effective uid: %d\n", os.Geteuid())
	case "pgrep":
		var found bool
		if found, err = pgrep(os.Stdout, "/proc", os.Args[1:]); err == nil && !found {
			os.Exit(1)
		}
	case "ipcs":
		err = ipcs(os.Stdout, "/proc/sysvipc/shm")
	default:
		err = fmt.Errorf("called as %q: want nginx, httpd, nnp, pgrep or ipcs", name)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
		os.Exit(1)
	}
}
