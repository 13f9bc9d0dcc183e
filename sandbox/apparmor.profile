# What containers may do that ask for no other profile: everything but changing
# the host's kernel and mounts. It comes on top of namespaces, capabilities,
# masked paths and seccomp, and includes no other file, so that it loads
# wherever AppArmor is.
profile slipway-default flags=(attach_disconnected,mediate_deleted) {
  network,
  capability,
  file,
  umount,

  # The host may signal a container, and containers each other; a container
  # sees, by its PID namespace, its own only.
  signal (receive) peer=unconfined,
  signal (send, receive) peer=slipway-default,
  ptrace (read, readby, trace, tracedby) peer=slipway-default,

  deny mount,

  # /proc: not the kernel's files; /proc/sys only as far as it belongs to the
  # container's IPC namespace.
  deny /proc/* w,
  deny /proc/{acpi,asound,bus,driver,fs,irq,scsi,tty}/** wklx,
  deny /proc/{kcore,kmem,mem,sysrq-trigger} rwklx,
  deny /proc/sys/{abi,crypto,debug,dev,fs,net,sunrpc,user,vm}/** wklx,
  deny /proc/sys/kernel/{[^s],s[^h],sh[^m]}** wklx,

  # /sys: cgroups only.
  deny /sys/{block,bus,class,dev,devices,firmware,hypervisor,kernel,module,power}/** wklx,
  deny /sys/fs/{[^c],c[^g]}** wklx,
  deny /sys/{firmware,kernel/security,devices/virtual/powercap}/** rwklx,
}
