package conf

import (
	"fmt"
	"time"
)

// Duration is a time span, in the file a string such as "90s" or "4h".
type Duration time.Duration

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is no duration: write one such as \"90s\" or \"4h\"", text)
	}
	*d = Duration(v)
	return nil
}

// String writes what UnmarshalText reads, without parts that are zero.
func (d Duration) String() string {
	v := time.Duration(d)
	switch {
	case v != 0 && v%time.Hour == 0:
		return fmt.Sprintf("%dh", v/time.Hour)
	case v != 0 && v%time.Minute == 0:
		return fmt.Sprintf("%dm", v/time.Minute)
	}
	return v.String()
}

func checkDuration(d, least Duration) error {
	if d < least {
		return fmt.Errorf("is less than %v", least)
	}
	return nil
}

func checkCount(n, least, most int) error {
	if n < least || n > most {
		return fmt.Errorf("is not in %d..%d", least, most)
	}
	return nil
}
