package cgroup

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"slipway/sandbox/cgroup/systemd"
)

func inWords(props []systemd.Property) string {
	var all []string
	for _, p := range props {
		value := fmt.Sprint(p.Value)
		if p.Value == systemd.Infinity {
			value = "infinity"
		}
		all = append(all, p.Name+"="+value)
	}
	return strings.Join(all, " ")
}

// TestProperties: systemd is told what the files say, in its own words.
func TestProperties(t *testing.T) {
	for _, c := range []struct {
		name  string
		v2    bool
		files map[string]string
		want  string
	}{
		// Without TasksMax, systemd's own for services would count.
		{"nothing", true, nil, "TasksMax=infinity"},
		{"no limits", true, map[string]string{
			"pids.max": "max", "memory.max": "max", "memory.high": "max", "memory.low": "0", "memory.min": "0",
			"memory.swap.max": "max", "memory.zswap.max": "max", "cpu.weight": "100", "cpu.max": "max 100000",
			"cpuset.cpus": "", "cpuset.mems": "", "io.weight": "default 100",
		}, "TasksMax=infinity MemoryMax=infinity MemoryHigh=infinity MemoryLow=0 MemoryMin=0 MemorySwapMax=infinity " +
			"CPUWeight=100 CPUQuotaPerSecUSec=infinity CPUQuotaPeriodUSec=100000"},
		{"limits", true, map[string]string{
			"pids.max": "50", "memory.max": "67108864", "memory.high": "60000256", "memory.swap.max": "0", "memory.zswap.max": "4096",
			"cpu.weight": "20", "cpu.max": "50000 100000", "cpuset.cpus": "0-2,9", "cpuset.mems": "0", "io.weight": "default 50\n8:0 70",
		}, "TasksMax=50 MemoryMax=67108864 MemoryHigh=60000256 MemorySwapMax=0 CPUWeight=20 CPUQuotaPerSecUSec=500000 " +
			"CPUQuotaPeriodUSec=100000 AllowedCPUs=[7 2] AllowedMemoryNodes=[1] MemoryZSwapMax=4096 IOWeight=50"},
		// It keeps whole percent: never less than was asked for.
		{"odd quota", true, map[string]string{"cpu.max": "20500 100000"}, "TasksMax=infinity CPUQuotaPerSecUSec=210000 CPUQuotaPeriodUSec=100000"},
		{"small quota", true, map[string]string{"cpu.max": "1000 1000000"}, "TasksMax=infinity CPUQuotaPerSecUSec=10000 CPUQuotaPeriodUSec=1000000"},

		{"v1", false, map[string]string{
			"pids.max": "max", "memory.limit_in_bytes": "9223372036854771712", "cpu.shares": "512",
			"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000", "devices.list": "a *:* rwm",
		}, "TasksMax=infinity MemoryLimit=infinity CPUShares=512 CPUQuotaPerSecUSec=infinity CPUQuotaPeriodUSec=100000 DevicePolicy=auto DeviceAllow=[]"},
		{"v1 limits", false, map[string]string{
			"pids.max": "7", "memory.limit_in_bytes": "67108864", "cpu.shares": "2",
			"cpu.cfs_quota_us": "25000", "cpu.cfs_period_us": "50000", "devices.list": "c 1:3 rwm\nb *:* m\nc *:* m\n",
		}, "TasksMax=7 MemoryLimit=67108864 CPUShares=2 CPUQuotaPerSecUSec=500000 CPUQuotaPeriodUSec=50000 DevicePolicy=strict " +
			"DeviceAllow=[{/dev/char/1:3 rwm} {block-* m} {char-* m}]"},
	} {
		read := func(controller, file string) (string, error) {
			text, ok := c.files[file]
			if !ok {
				return "", unix.ENOENT
			}
			if !strings.HasPrefix(file, controller+".") {
				t.Errorf("%s: %s is read from %s", c.name, file, controller)
			}
			return text + "\n", nil
		}
		from := propertiesV1
		if c.v2 {
			from = propertiesV2
		}
		props, err := from(read)
		if got := inWords(props); err != nil || got != c.want {
			t.Errorf("%s: %v\ngot  %s\nwant %s", c.name, err, got, c.want)
		}
	}
}

func TestDriverOf(t *testing.T) {
	const devices = "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  1 ramdisk\n259 blkext\n"
	for _, c := range []struct{ class, major, want string }{
		{"char", "136", "pts"}, {"char", "1", "mem"}, {"block", "1", "ramdisk"}, {"block", "136", ""}, {"char", "13", ""},
	} {
		if got, _ := driverOf(devices, c.class, c.major); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.class, c.major, got, c.want)
		}
	}
}
