#include "textflag.h"

// The child of cloneRun makes no use of Go and of no stack: its memory may be
// unmapped under it. Offsets are those of step (80 bytes) and status.
//
//	R12 step   R13 number of steps   R14 index   R15 flags   BX status

// func cloneRun(args *cloneArgs, size uintptr, steps *step, n uintptr, st *status) (pid int64)
TEXT ·cloneRun(SB), NOSPLIT|NOFRAME, $0-48
	MOVQ args+0(FP), DI
	MOVQ size+8(FP), SI
	MOVQ steps+16(FP), R12
	MOVQ n+24(FP), R13
	MOVQ st+32(FP), BX
	MOVL $435, AX          // clone3
	SYSCALL
	TESTQ AX, AX
	JEQ  child
	MOVQ AX, pid+40(FP)
	RET

child:
	XORQ R14, R14

loop:
	CMPQ R14, R13
	JCC  fell
	MOVQ R14, 16(BX)       // status.progress
	MOVQ 8(R12), DI
	MOVQ 16(R12), SI
	MOVQ 24(R12), DX
	MOVQ 32(R12), R10
	MOVQ 40(R12), R8
	MOVQ 48(R12), R9
	MOVQ 56(R12), R15
	BTQ  $8, R15
	JCC  arg1
	MOVQ (DI), DI

arg1:
	BTQ  $9, R15
	JCC  arg2
	MOVQ (SI), SI

arg2:
	BTQ  $10, R15
	JCC  arg3
	MOVQ (DX), DX

arg3:
	BTQ  $11, R15
	JCC  arg4
	MOVQ (R10), R10

arg4:
	BTQ  $12, R15
	JCC  arg5
	MOVQ (R8), R8

arg5:
	BTQ  $13, R15
	JCC  call
	MOVQ (R9), R9

call:
	MOVQ 0(R12), AX
	SYSCALL
	CMPQ AX, $-4095
	JCC  failed
	BTQ  $1, R15           // flagFork
	JCC  store
	TESTQ AX, AX
	JEQ  next
	XORL DI, DI
	JMP  leave

store:
	MOVQ AX, 72(R12)
	BTQ  $3, R15           // flagOffer
	JCC  next
	SHRQ $16, R15
	ANDQ $15, R15
	MOVQ AX, 32(BX)(R15*8) // status.offers
	JMP  next

failed:
	MOVQ AX, 72(R12)
	MOVQ AX, CX
	NEGQ CX
	CMPQ CX, $63
	JHI  fatal
	MOVQ 64(R12), DX       // step.tolerate
	BTQ  CX, DX
	JCC  fatal
	BTQ  $2, R15           // flagNote
	JCC  next
	MOVQ 24(BX), DX
	BTSQ CX, DX
	MOVQ DX, 24(BX)

next:
	ADDQ $80, R12
	INCQ R14
	JMP  loop

fatal:
	MOVQ R14, 8(BX)
	MOVQ CX, 0(BX)
	JMP  die

fell:
	MOVQ $-1, 0(BX)

die:
	MOVL $127, DI

leave:
	MOVL $231, AX          // exit_group
	SYSCALL
	JMP  die

// func runnerAddr() uintptr
TEXT ·runnerAddr(SB), NOSPLIT, $0-8
	LEAQ ·cloneRun(SB), AX
	MOVQ AX, ret+0(FP)
	RET
