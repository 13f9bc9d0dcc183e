package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Sizes of the picture in pixels.
const (
	columns             = 3
	panelWide, panelTop = 330, 40
	panelHigh           = 250
	left, right         = 62, 18
	top, bottom         = 34, 40
)

var colours = []string{"#1b6ca8", "#c0392b", "#2e8b57", "#8e44ad"}

// draw makes one panel for each row; both axes are logarithmic, so that a cost
// that grows with the pods is a straight line upwards, and one that does not is
// level.
func draw(r *result) string {
	lines := (len(r.Rows) + columns - 1) / columns
	var b strings.Builder
	wide, high := columns*panelWide, panelTop+lines*panelHigh+46
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">`+"\n", wide, high, wide, high)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", wide, high)
	for i, name := range r.Runtimes {
		x := 16 + i*220
		fmt.Fprintf(&b, `<rect x="%d" y="14" width="22" height="4" fill="%s"/><text x="%d" y="20" font-size="13">%s</text>`+"\n",
			x, colours[i%len(colours)], x+28, html.EscapeString(name))
	}
	for i := range r.Rows {
		fmt.Fprintf(&b, `<g transform="translate(%d,%d)">`+"\n", i%columns*panelWide, panelTop+i/columns*panelHigh)
		panel(&b, r, &r.Rows[i])
		b.WriteString("</g>\n")
	}
	text := fmt.Sprintf("%s; %s; median of %d; load %s", r.Date.Format("2006-01-02 15:04 MST"), r.Machine, r.Samples, r.Load)
	fmt.Fprintf(&b, `<text x="16" y="%d" fill="#555">%s</text>`+"\n", high-26, html.EscapeString(text))
	fmt.Fprintf(&b, `<text x="16" y="%d" fill="#555">%s</text>`+"\n", high-10, html.EscapeString(r.Note))
	b.WriteString("</svg>\n")
	return b.String()
}

// axis maps the logarithm of a range to pixels.
type axis struct{ low, high, from, to float64 }

func (a axis) at(v float64) float64 {
	return a.from + (math.Log10(v)-a.low)/(a.high-a.low)*(a.to-a.from)
}

func panel(b *strings.Builder, r *result, row *row) {
	x, y := axes(row)
	fmt.Fprintf(b, `<text x="%d" y="20" font-weight="bold">%s, %s</text>`+"\n", left, html.EscapeString(row.Name), html.EscapeString(row.Unit))
	for e := int(math.Floor(y.low)); e <= int(math.Ceil(y.high)); e++ {
		v := math.Pow(10, float64(e))
		fmt.Fprintf(b, `<path d="M%.1f %.1fH%.1f" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end" fill="#555">%g</text>`+"\n",
			x.from, y.at(v), x.to, left-6, y.at(v)+4, v)
	}
	seen := map[int]bool{}
	for _, p := range row.Points {
		if !seen[p.Pods] {
			seen[p.Pods] = true
			fmt.Fprintf(b, `<path d="M%.1f %.1fV%.1f" stroke="#eee"/><text x="%.1f" y="%.1f" text-anchor="middle" fill="#555">%d</text>`+"\n",
				x.at(float64(p.Pods)), y.to, y.from, x.at(float64(p.Pods)), y.from+15, p.Pods)
		}
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="middle" fill="#555">pods on the node</text>`+"\n", (x.from+x.to)/2, y.from+30)
	for i, name := range r.Runtimes {
		colour := colours[i%len(colours)]
		var path []string
		for _, p := range row.Points {
			if p.Runtime != name || p.Median <= 0 {
				continue
			}
			px, py := x.at(float64(p.Pods)), y.at(p.Median)
			path = append(path, fmt.Sprintf("%.1f %.1f", px, py))
			fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/><text x="%.1f" y="%.1f" text-anchor="middle" fill="%s" font-size="10">%.3g</text>`+"\n",
				px, py, colour, px, py-6, colour, p.Median)
		}
		if len(path) > 0 {
			fmt.Fprintf(b, `<path d="M%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(path, "L"), colour)
		}
	}
}

// axes reach over all points of a row, up and down to a power of ten.
func axes(row *row) (x, y axis) {
	x = axis{low: 0, high: 1, from: left, to: panelWide - right}
	y = axis{low: math.Inf(1), high: math.Inf(-1), from: panelHigh - bottom, to: top}
	for _, p := range row.Points {
		x.high = max(x.high, math.Log10(float64(max(p.Pods, 1))))
		if p.Median > 0 {
			y.low = min(y.low, math.Floor(math.Log10(p.Median)))
			y.high = max(y.high, math.Ceil(math.Log10(p.Median)+0.05))
		}
	}
	if math.IsInf(y.low, 0) {
		y.low, y.high = 0, 1
	}
	y.high = max(y.high, y.low+1)
	return x, y
}
