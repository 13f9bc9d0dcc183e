package seccomp

const seccompNumber = 317 // seccomp(2)
