package oci

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// hostilePasswd maps what looks like a number to root.
const hostilePasswd = "root:x:0:0:root:/root:/bin/sh\n" +
	"4294967296:x:0:0::/:/bin/sh\n2147483648:x:0:0::/:/bin/sh\n-1:x:0:0::/:/bin/sh\n00:x:0:0::/:/bin/sh\n+0:x:0:0::/:/bin/sh\n1000:x:0:0::/:/bin/sh\n" +
	"::0:0::/:/bin/sh\nshort:x:0\n+::::::\nwrap:x:4294967296:0::/:/bin/sh\nnegative:x:-1:0::/:/bin/sh\nempty:x:::::\n" +
	"app:x:1001:1002:a:/home/app:/bin/sh\napp:x:0:0::/:/bin/sh\ncolon:x:5:5:a:b:/:/bin/sh\nevil:x:7:7::/r\rx:/bin/sh\n"

const hostileGroup = "root:x:0:\n0:x:9:\nwheel:x:10:root,app\nextra:x:50000:app\nbroken:x:x:app\nhuge:x:2147483648:app\n1002:x:0:app,app\n"

func TestLookupUser(t *testing.T) {
	for _, c := range []struct {
		req  UserRequest
		want User
		err  string
	}{
		{req: UserRequest{}, want: User{Groups: []uint32{0, 10}, Home: "/root", Name: "root"}},
		{req: UserRequest{User: "0"}, want: User{Groups: []uint32{0, 10}, Home: "/root", Name: "root"}},
		{req: UserRequest{User: "1000"}, want: User{UID: 1000, Groups: []uint32{0}}},
		{req: UserRequest{User: "1001"}, want: User{UID: 1001, GID: 1002, Groups: []uint32{1002, 10, 50000, 0}, Home: "/home/app", Name: "app"}},
		{req: UserRequest{User: "app"}, want: User{UID: 1001, GID: 1002, Groups: []uint32{1002, 10, 50000, 0}, Home: "/home/app", Name: "app"}},
		{req: UserRequest{User: "app", Strict: true, Groups: []uint32{77, 1002}}, want: User{UID: 1001, GID: 1002, Groups: []uint32{1002, 77}, Home: "/home/app", Name: "app"}},
		{req: UserRequest{User: "app", Group: "wheel", Strict: true}, want: User{UID: 1001, GID: 10, Groups: []uint32{10}, Home: "/home/app", Name: "app"}},
		{req: UserRequest{User: "1001", Group: "2147483647", Strict: true}, want: User{UID: 1001, GID: 2147483647, Groups: []uint32{2147483647}, Home: "/home/app", Name: "app"}},
		{req: UserRequest{User: "2147483647"}, want: User{UID: 2147483647, Groups: []uint32{0}}},
		{req: UserRequest{User: "7", Strict: true}, want: User{UID: 7, GID: 7, Groups: []uint32{7}, Name: "evil"}},
		{req: UserRequest{User: "4294967296"}, err: "not in 0..2147483647"},
		{req: UserRequest{User: "2147483648"}, err: "not in 0..2147483647"},
		{req: UserRequest{User: "-1"}, err: "not a plain decimal"},
		{req: UserRequest{User: "+0"}, err: "not a plain decimal"},
		{req: UserRequest{User: "00"}, err: "not a plain decimal"},
		{req: UserRequest{User: "1000", Group: "4294967296"}, err: "group: id"},
		{req: UserRequest{User: "1000", Group: "0x0"}, err: `group "0x0" is not in`},
		{req: UserRequest{User: "nobody"}, err: `user "nobody" is not in /etc/passwd`},
		{req: UserRequest{User: "short"}, err: "is not in"},
		{req: UserRequest{User: "colon"}, err: "is not in"},
		{req: UserRequest{User: "wrap"}, err: "no usable ids"},
		{req: UserRequest{User: "negative"}, err: "no usable ids"},
		{req: UserRequest{User: "empty"}, err: "no usable ids"},
		{req: UserRequest{User: "app", Group: "broken"}, err: "no usable id"},
		{req: UserRequest{User: "app", Group: "huge"}, err: "no usable id"},
	} {
		got, err := LookupUser(strings.NewReader(hostilePasswd), strings.NewReader(hostileGroup), c.req)
		if c.err != "" {
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%+v: error %v, want %q", c.req, err, c.err)
			}
			continue
		}
		if err != nil || got.UID != c.want.UID || got.GID != c.want.GID || got.Home != c.want.Home ||
			got.Name != c.want.Name || !slices.Equal(got.Groups, c.want.Groups) {
			t.Errorf("%+v: %+v, %v; want %+v", c.req, got, err, c.want)
		}
	}
}

func TestLookupUserWithoutFiles(t *testing.T) {
	if u, err := LookupUser(nil, nil, UserRequest{User: "5", Groups: []uint32{9}}); err != nil || u.UID != 5 || !slices.Equal(u.Groups, []uint32{0, 9}) {
		t.Errorf("%+v, %v", u, err)
	}
	if _, err := LookupUser(nil, nil, UserRequest{User: "app"}); err == nil {
		t.Error("a name without /etc/passwd was resolved")
	}
}

// endless never stops giving bytes.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	e.read += len(p)
	return len(p), nil
}

func TestLookupUserReadsNoMoreThanItNeeds(t *testing.T) {
	e := &endless{}
	_, err := LookupUser(e, nil, UserRequest{})
	if !errors.Is(err, ErrInvalid) || e.read > 4*maxPasswd {
		t.Errorf("%d bytes read, error %v", e.read, err)
	}
	if _, err := LookupUser(strings.NewReader("root\x00:x:0:0::/:/"), nil, UserRequest{}); err == nil {
		t.Error("a NUL byte was taken")
	}
	if _, err := LookupUser(io.LimitReader(&endless{}, maxPasswd), nil, UserRequest{}); err != nil {
		t.Errorf("one long line of %d bytes: %v", maxPasswd, err)
	}
}

func TestUserOf(t *testing.T) {
	id := func(v int64) *runtimeapi.Int64Value { return &runtimeapi.Int64Value{Value: v} }
	for _, c := range []struct {
		name  string
		sc    *runtimeapi.LinuxContainerSecurityContext
		image string
		want  UserRequest
		err   string
	}{
		{name: "nothing"},
		{name: "image", image: "app:wheel", want: UserRequest{User: "app", Group: "wheel"}},
		{name: "uid hides the image's group", image: "app:wheel", sc: &runtimeapi.LinuxContainerSecurityContext{RunAsUser: id(0)}, want: UserRequest{User: "0"}},
		{name: "name and gid", sc: &runtimeapi.LinuxContainerSecurityContext{RunAsUsername: "app", RunAsGroup: id(7)}, want: UserRequest{User: "app", Group: "7"}},
		{name: "group alone", image: "app", sc: &runtimeapi.LinuxContainerSecurityContext{RunAsGroup: id(7)}, err: "run_as_group: given without"},
		{name: "both users", sc: &runtimeapi.LinuxContainerSecurityContext{RunAsUsername: "app", RunAsUser: id(7)}, err: "only one"},
		{name: "negative", sc: &runtimeapi.LinuxContainerSecurityContext{RunAsUser: id(-1)}, err: "run_as_user: id -1"},
		{name: "large", sc: &runtimeapi.LinuxContainerSecurityContext{RunAsUser: id(1 << 31)}, err: "run_as_user: id"},
		{name: "large gid", sc: &runtimeapi.LinuxContainerSecurityContext{RunAsUser: id(1), RunAsGroup: id(1 << 32)}, err: "run_as_group: id"},
		{name: "supplemental", sc: &runtimeapi.LinuxContainerSecurityContext{SupplementalGroups: []int64{1 << 32}}, err: "supplemental_groups: id"},
		{name: "policy", sc: &runtimeapi.LinuxContainerSecurityContext{SupplementalGroupsPolicy: 9}, err: "supplemental_groups_policy"},
		{name: "strict", sc: &runtimeapi.LinuxContainerSecurityContext{SupplementalGroupsPolicy: 1}, want: UserRequest{Strict: true}},
		{name: "image without user", image: ":wheel", err: "user of the image"},
		{name: "image without group", image: "app:", err: "user of the image"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := UserOf(&runtimeapi.ContainerConfig{Linux: &runtimeapi.LinuxContainerConfig{SecurityContext: c.sc}}, ImageConfig{User: c.image})
			if c.err != "" {
				if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil || got.User != c.want.User || got.Group != c.want.Group || got.Strict != c.want.Strict {
				t.Errorf("%+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}

func FuzzLookupUser(f *testing.F) {
	f.Add(hostilePasswd, hostileGroup, "app", "wheel")
	f.Add(hostilePasswd, hostileGroup, "4294967296", "")
	f.Fuzz(func(t *testing.T, passwd, group, user, gid string) {
		u, err := LookupUser(strings.NewReader(passwd), strings.NewReader(group), UserRequest{User: user, Group: gid})
		if err != nil {
			return
		}
		if u.UID > maxID || u.GID > maxID || len(u.Groups) == 0 || u.Groups[0] != u.GID {
			t.Errorf("%+v", u)
		}
		if u.UID == 0 && isDigits(user) && user != "0" {
			t.Errorf("%q became root", user)
		}
		if hasControl(u.Home) {
			t.Errorf("home %q", u.Home)
		}
	})
}
