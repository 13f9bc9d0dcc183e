package wire

import (
	"encoding/json"
	"fmt"
)

// Names in a record directory that both processes know.
const (
	ExitFile = "exit.json"
	LogFile  = "log.json"
)

// MaxExitFile bounds exit.json in bytes.
const MaxExitFile = 4096

// ExitRecord is exit.json. Whichever process knows first writes it, by link(2):
// the keeper, or the daemon when it knows earlier or when there was no process
// at all.
type ExitRecord struct {
	Version    int    `json:"version"`
	Code       int    `json:"code"`
	Signal     int    `json:"signal"`
	OOM        bool   `json:"oom"`
	Unknown    bool   `json:"unknown"`
	FinishedAt int64  `json:"finishedAt"` // Unix nanoseconds
	Reason     string `json:"reason"`
	Message    string `json:"message,omitempty"` // for people; the daemon's alone
}

// Record returns the bytes of exit.json.
func (e *Exit) Record() []byte {
	b, err := json.Marshal(ExitRecord{
		Version: 1, Code: e.Code, Signal: e.Signal, OOM: e.OOM, Unknown: e.Unknown, FinishedAt: e.FinishedAt, Reason: e.Reason,
	})
	if err != nil {
		panic(err) // plain values cannot fail
	}
	return append(b, '\n')
}

// FromRecord sets what exit.json says.
func (e *Exit) FromRecord(b []byte) error {
	var r ExitRecord
	if err := json.Unmarshal(b, &r); err != nil {
		return fmt.Errorf("%s: %w", ExitFile, err)
	}
	if r.Version != 1 {
		return fmt.Errorf("%s: version %d is not known", ExitFile, r.Version)
	}
	e.Code, e.Signal, e.OOM, e.Unknown, e.FinishedAt, e.Reason = r.Code, r.Signal, r.OOM, r.Unknown, r.FinishedAt, r.Reason
	return nil
}
