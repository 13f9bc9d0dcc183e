package oci

import (
	"slices"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// argsOf gives the command line. A command of the request replaces the image's
// entrypoint and drops its cmd; args of the request replace the cmd only.
func argsOf(c *runtimeapi.ContainerConfig, img ImageConfig) ([]string, error) {
	command, args := c.GetCommand(), c.GetArgs()
	if len(command) == 0 {
		if len(args) == 0 {
			args = img.Cmd
		}
		// An entrypoint of one empty string is how image builders say "none".
		if len(img.Entrypoint) != 1 || img.Entrypoint[0] != "" {
			command = img.Entrypoint
		}
	}
	all := slices.Concat(command, args)
	if len(all) == 0 {
		return nil, invalid("no command specified: the request has none, nor has image %q", c.GetImage().GetImage())
	}
	return all, checkArgs(all)
}

func checkArgs(args []string) error {
	if len(args) == 0 || args[0] == "" {
		return invalid("command: empty")
	}
	for _, a := range args {
		if len(a) >= maxArg {
			return invalid("command: an argument of %d bytes, the longest is %d", len(a), maxArg-1)
		}
		if err := checkNUL(a); err != nil {
			return inField("command", err)
		}
	}
	return nil
}

// workingDir gives the directory to start in: the request's, the image's, "/".
func workingDir(c *runtimeapi.ContainerConfig, img ImageConfig) (string, error) {
	field, dir := "working_dir", c.GetWorkingDir()
	if dir == "" {
		field, dir = "working directory of the image", img.WorkingDir
	}
	if dir == "" {
		return "/", nil
	}
	if err := checkAbsolute(dir); err != nil {
		return "", inField(field, err)
	}
	return inContainer(dir), nil
}
