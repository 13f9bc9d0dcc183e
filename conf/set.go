package conf

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Set gives one key its value from elsewhere than a file; origin says where,
// such as "--root", for messages. A list takes all values in one call.
func (c *Config) Set(origin, name string, values ...string) error {
	k, ok := findKey(name)
	if !ok {
		return fmt.Errorf("%s: unknown key %q%s", origin, name, hint(name, Keys()))
	}
	if err := assign(k.field(c), values); err != nil {
		return fmt.Errorf("%s: %w", origin, err)
	}
	at := map[string]string{name: origin}
	for key, o := range c.origin { // a copy: Config is passed by value
		if key != name {
			at[key] = o
		}
	}
	c.origin = at
	return nil
}

func assign(field any, values []string) error {
	one := func() (string, error) {
		if len(values) != 1 {
			return "", fmt.Errorf("takes one value, got %d", len(values))
		}
		return values[0], nil
	}
	switch f := field.(type) {
	case *string:
		v, err := one()
		if err != nil {
			return err
		}
		*f = v
	case *[]string:
		*f = slices.Clone(values)
	case *[]Ulimit:
		limits := make([]Ulimit, len(values))
		for i, v := range values {
			if err := limits[i].UnmarshalText([]byte(v)); err != nil {
				return err
			}
		}
		*f = limits
	case *Absent:
		if len(values) == 1 && !strings.HasPrefix(values[0], "/") {
			return f.UnmarshalText([]byte(values[0]))
		}
		*f = slices.Clone(values)
	case *Duration:
		v, err := one()
		if err != nil {
			return err
		}
		return f.UnmarshalText([]byte(v))
	case *int:
		v, err := one()
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(strings.ReplaceAll(v, "_", ""), 0, 32)
		if err != nil {
			return fmt.Errorf("%q is not a number of at most 32 bits", v)
		}
		*f = int(n)
	case *bool:
		v, err := one()
		if err != nil {
			return err
		}
		*f = v == "true"
		if v != "true" && v != "false" {
			return fmt.Errorf("%q is neither true nor false", v)
		}
	}
	return nil
}

// assignOne checks one value of a list on its own.
func assignOne(field any, value string) error {
	if _, ok := field.(*[]Ulimit); !ok {
		return nil
	}
	return assign(&[]Ulimit{}, []string{value})
}

// Reload returns c with the keys that can change while running taken from
// next, and the names of the keys that differ and need a restart.
func (c Config) Reload(next Config) (Config, []string) {
	var wait []string
	for _, k := range keys() {
		was, is := reflect.ValueOf(k.field(&c)).Elem(), reflect.ValueOf(k.field(&next)).Elem()
		switch {
		case reflect.DeepEqual(was.Interface(), is.Interface()):
		case k.reload:
			was.Set(is)
		default:
			wait = append(wait, k.name)
		}
	}
	if len(c.Handlers)+len(next.Handlers) > 0 && !reflect.DeepEqual(c.Handlers, next.Handlers) {
		wait = append(wait, handlersKey)
	}
	return c, wait
}
