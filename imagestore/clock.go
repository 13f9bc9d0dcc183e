package imagestore

import (
	"runtime"
	"time"
)

// now is the wall clock, for display only, as records have it.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

func defaultParallel() int { return max(3, runtime.NumCPU()) }
