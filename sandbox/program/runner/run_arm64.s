#include "textflag.h"

// The child of cloneRun makes no use of Go and of no stack: its memory may be
// unmapped under it. Offsets are those of step (80 bytes) and status.
//
//	R19 step   R20 number of steps   R21 status   R22 index   R23 flags

// func cloneRun(args *cloneArgs, size uintptr, steps *step, n uintptr, st *status) (pid int64)
TEXT ·cloneRun(SB), NOSPLIT|NOFRAME, $0-48
	MOVD args+0(FP), R0
	MOVD size+8(FP), R1
	MOVD steps+16(FP), R19
	MOVD n+24(FP), R20
	MOVD st+32(FP), R21
	MOVD $435, R8            // clone3
	SVC
	CBZ  R0, child
	MOVD R0, pid+40(FP)
	RET

child:
	MOVD ZR, R22

loop:
	CMP  R20, R22
	BHS  fell
	MOVD R22, 16(R21)        // status.progress
	MOVD 8(R19), R0
	MOVD 16(R19), R1
	MOVD 24(R19), R2
	MOVD 32(R19), R3
	MOVD 40(R19), R4
	MOVD 48(R19), R5
	MOVD 56(R19), R23
	TBZ  $8, R23, arg1
	MOVD (R0), R0

arg1:
	TBZ  $9, R23, arg2
	MOVD (R1), R1

arg2:
	TBZ  $10, R23, arg3
	MOVD (R2), R2

arg3:
	TBZ  $11, R23, arg4
	MOVD (R3), R3

arg4:
	TBZ  $12, R23, arg5
	MOVD (R4), R4

arg5:
	TBZ  $13, R23, call
	MOVD (R5), R5

call:
	MOVD 0(R19), R8
	SVC
	CMN  $4095, R0
	BHS  failed
	TBZ  $1, R23, store      // flagFork
	CBZ  R0, next
	MOVD ZR, R0
	B    leave

store:
	MOVD R0, 72(R19)
	TBZ  $3, R23, next       // flagOffer
	UBFX $16, R23, $4, R23
	ADD  $32, R21, R24
	MOVD R0, (R24)(R23<<3)   // status.offers
	B    next

failed:
	MOVD R0, 72(R19)
	NEG  R0, R24
	CMP  $63, R24
	BHI  fatal
	MOVD 64(R19), R25        // step.tolerate
	LSR  R24, R25, R25
	TBZ  $0, R25, fatal
	TBZ  $2, R23, next       // flagNote
	MOVD $1, R25
	LSL  R24, R25, R25
	MOVD 24(R21), R26
	ORR  R25, R26, R26
	MOVD R26, 24(R21)

next:
	ADD  $80, R19
	ADD  $1, R22
	B    loop

fatal:
	MOVD R22, 8(R21)
	MOVD R24, 0(R21)
	B    die

fell:
	MOVD $-1, R24
	MOVD R24, 0(R21)

die:
	MOVD $127, R0

leave:
	MOVD $94, R8             // exit_group
	SVC
	B    die

// func runnerAddr() uintptr
TEXT ·runnerAddr(SB), NOSPLIT, $0-8
	MOVD $·cloneRun(SB), R0
	MOVD R0, ret+0(FP)
	RET
