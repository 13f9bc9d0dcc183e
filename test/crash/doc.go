// Package crash kills slipway: the daemon, the keeper, both at once, before each
// step that an operation takes outside of them, and at random moments while pods
// come and go; and it looks at what is left and what is true. A disk that is
// full or broken fails the same steps, and records are damaged between two lives
// of the daemon.
//
// A short run takes an even choice of the steps: SLIPWAY_CRASH_STEPS and
// SLIPWAY_CRASH_FAULTS say how many, any large number means all. Random moments
// come from a seed that is printed; SLIPWAY_CRASH_SEED gives another one,
// SLIPWAY_CRASH_KILLS more of them.
//
// Trap: after both have died at once a code may be reported unknown and each
// log may lack one batch. Nothing else may be missing, and nothing invented.
package crash
