// Package bench holds the numbers: Go benchmarks of the parts that a request
// spends its time in, and the path of one request, asserted by counting
// processes and messages.
//
// It compares nothing with other runtimes; "make bench" does that where a
// yardstick is at hand, and the results lie in results/.
//
// The trap: nanoseconds on a shared machine prove nothing, so no test here
// asserts any. What is asserted are counts.
package bench
