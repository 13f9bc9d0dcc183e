package oci

import (
	"strconv"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maxID is the highest uid or gid: above it, programs that hold ids in a
// signed int wrap around (CVE-2024-40635).
const maxID = 1<<31 - 1

// UserRequest says who a container runs as, before names are looked up.
type UserRequest struct {
	User   string   // name or decimal uid, "" = 0
	Group  string   // name or decimal gid, "" = the user's in passwd, else 0
	Groups []uint32 // supplemental groups of the request
	Strict bool     // leave out the groups of the image's /etc/group
}

// UserOf says whom a container asks to run as: the CRI's user, else the
// image's, else uid 0. The image's group is used with the image's user only.
func UserOf(c *runtimeapi.ContainerConfig, img ImageConfig) (UserRequest, error) {
	sc := c.GetLinux().GetSecurityContext()
	req := UserRequest{}
	switch sc.GetSupplementalGroupsPolicy() {
	case runtimeapi.SupplementalGroupsPolicy_Merge:
	case runtimeapi.SupplementalGroupsPolicy_Strict:
		req.Strict = true
	default:
		return UserRequest{}, invalid("supplemental_groups_policy: unknown value %d", sc.GetSupplementalGroupsPolicy())
	}
	for _, g := range sc.GetSupplementalGroups() {
		if err := checkID(g); err != nil {
			return UserRequest{}, inField("supplemental_groups", err)
		}
		req.Groups = append(req.Groups, uint32(g))
	}
	if err := req.fromCRI(sc); err != nil {
		return UserRequest{}, err
	}
	if req.User == "" {
		user, group, both := strings.Cut(img.User, ":")
		if both && (user == "" || group == "") {
			return UserRequest{}, invalid("user of the image: %q", img.User)
		}
		req.User, req.Group = user, group
	}
	return req, nil
}

func (req *UserRequest) fromCRI(sc *runtimeapi.LinuxContainerSecurityContext) error {
	if sc.GetRunAsUser() != nil && sc.GetRunAsUsername() != "" {
		return invalid("run_as_user and run_as_username: only one can be given")
	}
	if u := sc.GetRunAsUser(); u != nil {
		if err := checkID(u.GetValue()); err != nil {
			return inField("run_as_user", err)
		}
		req.User = strconv.FormatInt(u.GetValue(), 10)
	} else {
		req.User = sc.GetRunAsUsername()
	}
	if g := sc.GetRunAsGroup(); g != nil {
		if req.User == "" {
			return invalid("run_as_group: given without run_as_user or run_as_username")
		}
		if err := checkID(g.GetValue()); err != nil {
			return inField("run_as_group", err)
		}
		req.Group = strconv.FormatInt(g.GetValue(), 10)
	}
	return nil
}

func checkID(id int64) error {
	if id < 0 || id > maxID {
		return invalid("id %d is not in 0..%d", id, maxID)
	}
	return nil
}

// parseID reads a decimal id. numeric says that the text is a number and so
// never a name, whatever the image's passwd says (CVE-2026-46680): also a
// signed one, and one too large. Leading zeros are refused: tools disagree
// about what they mean.
func parseID(s string) (id uint32, numeric bool, err error) {
	if !isDigits(strings.TrimLeft(s, "+-")) {
		return 0, false, nil
	}
	if !isDigits(s) || len(s) > 1 && s[0] == '0' {
		return 0, true, invalid("id %q is not a plain decimal number", s)
	}
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0, true, invalid("id %q is not in 0..%d", s, maxID)
	}
	return uint32(n), true, nil
}
