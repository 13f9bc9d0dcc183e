package sandbox

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"slipway/oci"
)

// defaultProfile is the AppArmor profile of RuntimeDefault.
//
//go:embed apparmor.profile
var defaultProfile string

const (
	defaultProfileName = "slipway-default"
	appArmorEnabled    = "/sys/module/apparmor/parameters/enabled"
	appArmorProfiles   = "/sys/kernel/security/apparmor/profiles"
	parserLimit        = 30 * time.Second
)

// ProbeAppArmor asks whether this host has AppArmor, nil if not, and loads the
// profile of RuntimeDefault. When that fails the error says why: containers that
// ask for RuntimeDefault are refused, and those that ask for nothing get none.
func ProbeAppArmor(ctx context.Context) (*oci.AppArmor, error) {
	b, err := os.ReadFile(appArmorEnabled)
	if err != nil || !bytes.HasPrefix(b, []byte("Y")) {
		return nil, nil
	}
	a := &oci.AppArmor{Loaded: profileLoaded}
	if err := loadProfile(ctx, defaultProfile); err != nil {
		a.Missing = fmt.Errorf("load AppArmor profile %q: %w", defaultProfileName, err)
		return a, a.Missing
	}
	a.Default = defaultProfileName
	return a, nil
}

// loadProfile has the host's compiler load a profile, in place of one of that
// name that is there.
func loadProfile(ctx context.Context, text string) error {
	parser, err := exec.LookPath("apparmor_parser")
	if err != nil {
		parser = "/usr/sbin/apparmor_parser" // not in everybody's PATH
	}
	ctx, cancel := context.WithTimeout(ctx, parserLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, parser, "--replace", "--skip-cache")
	cmd.Stdin = strings.NewReader(text)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if msg := strings.TrimSpace(string(out)); err != nil && msg != "" {
		return fmt.Errorf("%w: %s", err, msg)
	}
	return err
}

// profileLoaded looks a profile up in the kernel's list.
func profileLoaded(name string) bool {
	b, err := os.ReadFile(appArmorProfiles)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return true // nobody can tell here: execve will
	}
	return err == nil && hasProfile(string(b), name)
}

// hasProfile: lines of the list are "NAME (MODE)", and names may have spaces.
func hasProfile(list, name string) bool {
	for line := range strings.Lines(list) {
		if i := strings.LastIndex(line, " ("); i >= 0 && line[:i] == name {
			return true
		}
	}
	return false
}
