// Command growth measures how what a runtime costs grows with the number of
// pods on the node, and draws it.
//
//	growth measure -runtime NAME=unix:///SOCKET [-runtime ...] -o FILE
//	growth plot -o FILE.svg FILE
//
// With several runtimes the samples are taken by turns, so that whatever else
// the machine does hits all of them. The file says on which machine and when;
// figures of different files are not comparable.
//
// It is no load test, and not a measurement of one request in detail: that is
// what a side-by-side benchmark is for.
package main
