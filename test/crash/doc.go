// Package crash kills slipway: the daemon, the keeper, both at once, at random
// moments while pods come and go, and looks at what is left and what is true.
//
// The moments come from a seed that is printed; SLIPWAY_CRASH_SEED gives
// another one, SLIPWAY_CRASH_KILLS more of them. What only a kill at one
// certain instruction would leave is made by hand: records are taken away or
// damaged between two lives of the daemon.
//
// Trap: after both have died at once a code may be reported unknown and each
// log may lack one batch. Nothing else may be missing, and nothing invented.
package crash
