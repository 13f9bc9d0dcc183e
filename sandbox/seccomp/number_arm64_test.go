package seccomp

const seccompNumber = 277 // seccomp(2)
