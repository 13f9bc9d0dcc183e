package server

import (
	"fmt"
	"math"
	"time"

	"slipway/sandbox"
)

// nanos is t as the CRI writes it; the zero time is 0.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// seconds is n seconds. More than a Duration holds is as long as it holds.
func seconds(n int64) (time.Duration, error) {
	if n < 0 {
		return 0, fmt.Errorf("%d seconds: %w", n, sandbox.ErrInvalid)
	}
	if n > math.MaxInt64/int64(time.Second) {
		return math.MaxInt64, nil
	}
	return time.Duration(n) * time.Second, nil
}
