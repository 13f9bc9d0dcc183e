package oci

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// FuzzRequest changes good requests of a pod and a container in a few places,
// by their descriptors, and makes a spec of what is still taken: hostile values
// in otherwise good requests get further than random bytes.
func FuzzRequest(f *testing.F) {
	for _, seed := range requestSeeds() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		d := &dice{program}
		in := goodInput(d.roll(2) == 1)
		change(d, in.Pod, in.Container)
		if err := CheckPod(in.Pod); err != nil {
			refused(t, err)
			return
		}
		checkPodInvariants(t, in.Pod)
		specOfFuzzed(t, in)
	})
}

// goodInput has one of most things, to be changed.
func goodInput(users bool) ContainerInput {
	in := input()
	c, pod := in.Container, in.Pod.Linux.SecurityContext
	pod.Privileged = false
	if users {
		ids := []*runtimeapi.IDMapping{{HostId: 100_000, Length: 65536}}
		u := &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_POD, Uids: ids, Gids: ids}
		pod.NamespaceOptions = &runtimeapi.NamespaceOption{UsernsOptions: u}
		c.Linux.SecurityContext.NamespaceOptions = proto.Clone(pod.NamespaceOptions).(*runtimeapi.NamespaceOption)
	}
	c.Mounts = []*runtimeapi.Mount{{ContainerPath: "/m", HostPath: "/h"}}
	c.Devices = []*runtimeapi.Device{{ContainerPath: "/dev/kvm", HostPath: "/dev/kvm"}}
	c.Envs = []*runtimeapi.KeyValue{{Key: "K", Value: []byte("v")}}
	c.Linux.Resources.HugepageLimits = []*runtimeapi.HugepageLimit{{PageSize: "2MB"}}
	c.Linux.SecurityContext.MaskedPaths = defaultMasked
	in.Image = ImageConfig{User: "app", WorkingDir: "/srv", Volumes: map[string]struct{}{"/data": {}}, Cmd: []string{"sh"}}
	return in
}

// specOfFuzzed takes a request the way that a container does.
func specOfFuzzed(t *testing.T, in ContainerInput) {
	t.Helper()
	if err := CheckContainer(in.Container, in.Pod); err != nil {
		refused(t, err)
		return
	}
	req, err := UserOf(in.Container, in.Image)
	if err != nil {
		refused(t, err)
		return
	}
	if in.User, err = LookupUser(strings.NewReader(hostilePasswd), strings.NewReader(hostileGroup), req); err != nil {
		refused(t, err)
		return
	}
	paths, err := VolumePaths(in.Image, in.Container)
	if err != nil {
		refused(t, err)
		return
	}
	for _, p := range paths {
		in.Volumes = append(in.Volumes, Volume{Source: "/v", Destination: p})
	}
	if _, err := StopSignal(in.Container, in.Image); err != nil {
		refused(t, err)
		return
	}
	before := proto.Clone(in.Container)
	s, err := Container(in)
	if err != nil {
		refused(t, err)
		return
	}
	if !proto.Equal(before, in.Container) {
		t.Error("the request was changed")
	}
	checkInvariants(t, in, s)
}

// refused: what is wrong with a request is said as such, in one line.
func refused(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrInvalid) || hasControl(err.Error()) {
		t.Errorf("refused with %q", err)
	}
}

// dice gives decisions from the fuzzer's bytes, and zeros after them.
type dice struct{ rest []byte }

func (d *dice) roll(sides int) int {
	if len(d.rest) == 0 {
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return int(b) % sides
}

// maxChanges bounds how much one request is changed.
const maxChanges = 24

// change sets fields of the messages, one after the other, as the dice say.
func change(d *dice, messages ...proto.Message) {
	for n := 0; n < maxChanges && len(d.rest) > 0; n++ {
		m := messages[d.roll(len(messages))].ProtoReflect()
		for depth := 0; depth < 8; depth++ {
			fields := m.Descriptor().Fields()
			if fields.Len() == 0 {
				break
			}
			f := fields.Get(d.roll(fields.Len()))
			if len(d.rest) == 0 {
				return
			}
			if m = set(d, m, f); m == nil {
				break
			}
		}
	}
}

// set changes one field; a message to go on in is returned.
func set(d *dice, m protoreflect.Message, f protoreflect.FieldDescriptor) protoreflect.Message {
	switch {
	case f.IsMap():
		key := protoreflect.ValueOfString(word(d)).MapKey()
		m.Mutable(f).Map().Set(key, protoreflect.ValueOfString(word(d)))
	case f.IsList():
		list := m.Mutable(f).List()
		if f.Message() == nil {
			list.Append(scalar(d, f))
			return nil
		}
		i := d.roll(4)
		if i == 0 || list.Len() == 0 {
			return list.AppendMutable().Message()
		}
		return list.Get(i % list.Len()).Message()
	case f.Message() != nil:
		if d.roll(16) == 15 {
			m.Clear(f)
			return nil
		}
		return m.Mutable(f).Message()
	default:
		m.Set(f, scalar(d, f))
	}
	return nil
}

func scalar(d *dice, f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(d.roll(2) == 0)
	case protoreflect.EnumKind: // one more than there are
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(d.roll(f.Enum().Values().Len() + 1)))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(number(d)))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(number(d))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(number(d)))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(uint64(number(d)))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(word(d)))
	default:
		return protoreflect.ValueOfString(word(d))
	}
}

func number(d *dice) int64 {
	all := []int64{0, 1, -1, 80, 1000, 65535, 65536, 100_000, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<63 - 1, -1 << 63, -1000, 1001}
	return all[d.roll(len(all))]
}

// word is a text that means something to somebody, or two of them together.
func word(d *dice) string {
	i := d.roll(len(words) + 2)
	switch i {
	case len(words):
		return words[d.roll(len(words))] + "/" + words[d.roll(len(words))]
	case len(words) + 1:
		n := min(d.roll(32), len(d.rest))
		raw := strings.ToValidUTF8(string(d.rest[:n]), "?") // as the wire demands
		d.rest = d.rest[n:]
		return raw
	}
	return words[i]
}

var words = []string{
	"", "/", ".", "..", "../..", "a", "web", "app", "0", "1000", "+0", "4294967296", "root", "wheel:0",
	"/a", "/data", "/a/../../proc", "/proc", "/proc/self/fd/7", "/proc/1/root", "/proc/cpuinfo", "/sys", "/sys/fs/cgroup",
	"/dev", "/dev/null", "/dev/snd", "/dev/kvm", "/dev/pts", "/dev/shm", "/etc/hosts", "/etc/resolv.conf", "//x//", "/x/.",
	"ALL", "all", "CAP_SYS_ADMIN", "sys_admin", "NET_RAW", "CAP_SYS_RESOURCE", "cap_", "rwm", "r", "rr", "mknod",
	"noexec", "suid", "rbind", "rshared", "ro", "rro", "runtime/default", "localhost/", "localhost/../x", "localhost/p", "unconfined",
	"net.ipv4.ip_forward", "net/ipv4/ip_forward", "kernel.core_pattern", "kernel.shmmax", "kernel/../core_pattern", "fs.mqueue.msg_max",
	"memory.max", "memory.oom.group", "cgroup.procs", "../memory.max", "0-3", "3-0", "0,,1", "2Mi", "2MB",
	"a\x00b", "a\nb", "a b", "a=b", "=", "a:b", "\x7f", "\u202e", "sha256:0", "shop/app", "vendor.com/class=dev", "io.kubernetes.cri.x", "run.oci.y",
	"kubepods.slice", "/kubepods/burstable/pod1", "host", "1.2.3.4", "fe80::1%eth0", "ndots:5",
	strings.Repeat("x", 254), "/" + strings.Repeat("y", 4095),
}

// requestSeeds are programs that reach parts of a request that chance finds
// late: each sets the last field to every value there is, after the others to
// the first one. Fields are found by name, so that seeds stay right when some
// are added.
func requestSeeds() [][]byte {
	var seeds [][]byte
	for _, paths := range [][]string{
		{"1.linux.security_context.privileged"},
		{"0.linux.security_context.privileged", "1.linux.security_context.privileged"},
		{"0.linux.security_context.privileged", "1.linux.security_context.privileged", "1.linux.security_context.capabilities.add_ambient_capabilities"},
		{"1.linux.security_context.capabilities.add_capabilities"},
		{"1.linux.security_context.capabilities.add_ambient_capabilities"},
		{"1.linux.security_context.capabilities.drop_capabilities"},
		{"1.linux.security_context.namespace_options.userns_options.uids.length"},
		{"1.linux.security_context.namespace_options.pid"},
		{"1.linux.security_context.seccomp.profile_type"},
		{"1.linux.security_context.seccomp_profile_path"},
		{"1.linux.security_context.apparmor.localhost_ref"},
		{"1.linux.security_context.run_as_user.value"},
		{"1.linux.security_context.run_as_user.value", "1.linux.security_context.run_as_group.value"},
		{"1.linux.security_context.run_as_username"},
		{"1.linux.security_context.supplemental_groups"},
		{"1.linux.security_context.masked_paths"},
		{"1.linux.security_context.no_new_privs", "1.linux.security_context.readonly_rootfs"},
		{"1.linux.resources.unified"},
		{"1.linux.resources.oom_score_adj"},
		{"1.linux.resources.hugepage_limits.page_size"},
		{"1.mounts.container_path"},
		{"1.mounts.host_path"},
		{"1.mounts.readonly"},
		{"1.mounts.readonly", "1.mounts.recursive_read_only", "1.mounts.propagation"},
		{"1.mounts.propagation"},
		{"1.mounts.image.image"},
		{"1.mounts.mount_options"},
		{"1.devices.host_path"},
		{"1.devices.container_path"},
		{"1.devices.permissions"},
		{"1.envs.key"},
		{"1.envs.value"},
		{"1.annotations"},
		{"1.log_path"},
		{"1.working_dir"},
		{"0.linux.sysctls"},
		{"0.linux.cgroup_parent"},
		{"0.linux.security_context.namespace_options.network"},
		{"0.linux.security_context.namespace_options.userns_options.uids.host_id"},
		{"0.dns_config.options"},
		{"0.dns_config.searches"},
		{"0.hostname"},
		{"0.port_mappings.host_ip"},
	} {
		program := []byte{byte(len(seeds) % 2)} // with a user namespace or without
		for i, path := range paths {
			program = append(program, steps(path)...)
			if i < len(paths)-1 {
				program = append(program, 0)
			}
		}
		for w := range words {
			seeds = append(seeds, append(slices.Clone(program), byte(w), byte(w/2)))
		}
	}
	return seeds
}

// steps are the dice that lead to the field of a path.
func steps(path string) []byte {
	which, rest, _ := strings.Cut(path, ".")
	d := (&runtimeapi.PodSandboxConfig{}).ProtoReflect().Descriptor()
	program := []byte{0}
	if which == "1" {
		d, program[0] = (&runtimeapi.ContainerConfig{}).ProtoReflect().Descriptor(), 1
	}
	for name := range strings.SplitSeq(rest, ".") {
		f := d.Fields().ByName(protoreflect.Name(name))
		program = append(program, byte(f.Index()))
		if f.Message() != nil && !f.IsMap() {
			program = append(program, 1) // the element that is there; no clearing
			d = f.Message()
		}
	}
	return program
}
