package main

// skip is a spec that cannot run here, whatever the runtime does.
type skip struct {
	name   string // regular expression on the full text of the spec
	reason string
}

func skips() []skip {
	return []skip{
		{
			name:   `public image with digest should be pulled and removed`,
			reason: "pulls a fixed upstream digest; without internet nobody can serve it, since a digest cannot be forged",
		},
	}
}
