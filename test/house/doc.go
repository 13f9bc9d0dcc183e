// Package house holds the rules of the house as tests: which room may import
// which, who alone may use gRPC, the CRI's types, raw system calls and other
// programs, that every package says what it is, and which names are not used.
//
// The rules are policy, not description: a red test here is answered by changing
// the code. A new room gets a line in rooms_test.go, and with it a place.
//
// It is not a linter; how a function should look is for readers to say.
//
// Its trap: a rule that sees nothing is green. Each has a bad file in
// control_test.go that must turn it red.
package house
