//go:build tools

// Package cri keeps in go.sum what building critest needs: critest is a test
// binary (cmd/critest holds only a _test file), which a tool line can't name.
package cri

import (
	_ "sigs.k8s.io/cri-tools/pkg/benchmark"
	_ "sigs.k8s.io/cri-tools/pkg/validate"
)
