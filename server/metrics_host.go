package server

import (
	"strconv"

	"slipway/imagestore"
	"slipway/sandbox"
)

func diskFamilies() []family {
	byDevice := []string{"device"}
	ofDisk := func(name, help string, of func(*imagestore.Usage) uint64) family {
		return family{name: name, help: help, kind: gauge, labels: byDevice, values: func(m *measured, add adder) {
			if m.container == nil || m.container.Writable == nil {
				return
			}
			u := m.container.Writable
			add(of(u), m.device(u.Disk.Major, u.Disk.Minor))
		}}
	}
	ofIO := func(name, help string, of func(sandbox.IODevice) uint64) family {
		return family{name: name, help: help, kind: counter, labels: byDevice, values: func(m *measured, add adder) {
			if m.cgroup == nil {
				return
			}
			for _, d := range m.cgroup.Devices.Devices {
				add(of(d), m.device(d.Major, d.Minor))
			}
		}}
	}
	return []family{
		ofDisk("container_fs_usage_bytes", "What the writable layer takes up.", func(u *imagestore.Usage) uint64 { return u.Bytes }),
		ofDisk("container_fs_limit_bytes", "The size of the file system of the writable layer.", func(u *imagestore.Usage) uint64 { return u.Disk.Bytes }),
		ofDisk("container_fs_inodes_total", "Inodes of the file system of the writable layer.", func(u *imagestore.Usage) uint64 { return u.Disk.Inodes }),
		ofDisk("container_fs_inodes_free", "Free inodes of the file system of the writable layer.", func(u *imagestore.Usage) uint64 { return u.Disk.InodesFree }),
		ofIO("container_fs_reads_bytes_total", "Bytes read from a device.", func(d sandbox.IODevice) uint64 { return d.ReadBytes }),
		ofIO("container_fs_reads_total", "Reads from a device.", func(d sandbox.IODevice) uint64 { return d.Reads }),
		ofIO("container_fs_writes_bytes_total", "Bytes written to a device.", func(d sandbox.IODevice) uint64 { return d.WriteBytes }),
		ofIO("container_fs_writes_total", "Writes to a device.", func(d sandbox.IODevice) uint64 { return d.Writes }),
		{
			name: "container_blkio_device_usage_total", help: "Bytes moved from and to a device.", kind: counter,
			labels: []string{"device", "major", "minor", "operation"}, values: blkio,
		},
	}
}

func blkio(m *measured, add adder) {
	if m.cgroup == nil {
		return
	}
	for _, d := range m.cgroup.Devices.Devices {
		name, major, minor := m.device(d.Major, d.Minor), strconv.FormatUint(d.Major, 10), strconv.FormatUint(d.Minor, 10)
		add(d.ReadBytes, name, major, minor, "Read")
		add(d.WriteBytes, name, major, minor, "Write")
	}
}

func networkFamilies() []family {
	ofInterface := func(name, help string, of func(sandbox.Interface) uint64) family {
		return family{name: "container_network_" + name, help: help, kind: counter, labels: []string{"interface"}, values: func(m *measured, add adder) {
			if m.network == nil {
				return
			}
			for _, i := range m.network.Interfaces {
				add(of(i), i.Name)
			}
		}}
	}
	return []family{
		ofInterface("receive_bytes_total", "Bytes received.", func(i sandbox.Interface) uint64 { return i.RxBytes }),
		ofInterface("receive_packets_total", "Packets received.", func(i sandbox.Interface) uint64 { return i.RxPackets }),
		ofInterface("receive_packets_dropped_total", "Packets dropped while receiving.", func(i sandbox.Interface) uint64 { return i.RxDropped }),
		ofInterface("receive_errors_total", "Errors while receiving.", func(i sandbox.Interface) uint64 { return i.RxErrors }),
		ofInterface("transmit_bytes_total", "Bytes sent.", func(i sandbox.Interface) uint64 { return i.TxBytes }),
		ofInterface("transmit_packets_total", "Packets sent.", func(i sandbox.Interface) uint64 { return i.TxPackets }),
		ofInterface("transmit_packets_dropped_total", "Packets dropped while sending.", func(i sandbox.Interface) uint64 { return i.TxDropped }),
		ofInterface("transmit_errors_total", "Errors while sending.", func(i sandbox.Interface) uint64 { return i.TxErrors }),
	}
}

func processFamilies() []family {
	ofTasks := func(name, help string, of func(*sandbox.ContainerDetail) number) family {
		return family{name: name, help: help, kind: gauge, values: func(m *measured, add adder) {
			if m.container == nil {
				return
			}
			if n := of(m.container); n.Known {
				add(n.N)
			}
		}}
	}
	return []family{
		ofTasks("container_processes", "Processes.", func(c *sandbox.ContainerDetail) number { return c.Processes }),
		ofTasks("container_file_descriptors", "Open file descriptors.", func(c *sandbox.ContainerDetail) number { return knownIf(c.Tasks.FilesKnown, c.Tasks.Files) }),
		ofTasks("container_sockets", "Open sockets.", func(c *sandbox.ContainerDetail) number { return knownIf(c.Tasks.FilesKnown, c.Tasks.Sockets) }),
		ofCgroup("container_threads", "Threads.", gauge, func(d detail) number { return d.Threads }),
		ofCgroup("container_threads_max", "How many threads there may be; 0 is any number.", gauge, func(d detail) number { return d.MaxThreads }),
		labelled(ofTasks("container_ulimits_soft", "Soft limits of the first process.",
			func(c *sandbox.ContainerDetail) number { return knownIf(c.Tasks.MaxFilesKnown, c.Tasks.MaxFiles) }), "ulimit", "max_open_files"),
		{name: "container_tasks_state", help: "Threads in each state.", kind: gauge, labels: []string{"state"}, values: taskStates},
	}
}

// taskStates leaves out iowaiting: the kernel does not tell it of one thread.
func taskStates(m *measured, add adder) {
	if m.container == nil || !m.container.Tasks.StatesKnown {
		return
	}
	t := m.container.Tasks
	add(t.Sleeping, "sleeping")
	add(t.Running, "running")
	add(t.Stopped, "stopped")
	add(t.Uninterruptible, "uninterruptible")
}

func specFamilies() []family {
	return []family{
		ofCgroup("container_spec_cpu_period", "The scheduling period, in microseconds.", gauge, func(d detail) number { return d.Period }),
		ofCgroup("container_spec_cpu_quota", "Processor time allowed in a period, in microseconds.", gauge, func(d detail) number { return d.Quota }),
		{name: "container_spec_cpu_shares", help: "The share of the processors.", kind: gauge, values: shares},
		ofCgroup("container_spec_memory_limit_bytes", "The memory limit; 0 is none.", gauge, func(d detail) number { return knownIf(d.Memory.Known, d.Memory.Limit) }),
		ofCgroup("container_spec_memory_reservation_limit_bytes", "Memory that is kept for it; 0 is none.", gauge, func(d detail) number { return d.Reservation }),
		ofCgroup("container_spec_memory_swap_limit_bytes", "The limit of swap; 0 is none.", gauge, func(d detail) number { return d.SwapLimit }),
		{name: "container_start_time_seconds", help: "When it was started, in seconds since 1970.", kind: gauge, values: func(m *measured, add adder) {
			add(uint64(max(m.started.Unix(), 0)))
		}},
		{name: "container_last_seen", help: "When it was seen last, in seconds since 1970.", kind: gauge, values: func(m *measured, add adder) {
			add(uint64(max(m.at.Unix(), 0)))
		}},
	}
}

// shares are those that were asked for: v2 rounds them.
func shares(m *measured, add adder) {
	if m.container != nil {
		if n := m.container.Container.Resources.GetCpuShares(); n > 0 {
			add(uint64(n))
			return
		}
	}
	if m.cgroup != nil && m.cgroup.Shares.Known {
		add(m.cgroup.Shares.N)
	}
}
