//go:build race

package program

const raced = true
