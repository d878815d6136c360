// SPDX-License-Identifier: Apache-2.0

package plot

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"math"
)

// Chart is one diagram.
type Chart struct {
	Title  string
	X, Y   Axis
	Series []Series
}

// Axis is one axis of a chart. Its range is that of its ticks.
type Axis struct {
	Label string
	Log   bool
	Ticks []float64 // ascending, at least two; positive if Log
	Unit  string    // behind the numbers of the ticks
}

// Series is a line through points, each of them marked.
type Series struct {
	Name   string
	Points []Point
	Dashed bool
	Color  int // which of the colours
}

// Point is one value.
type Point struct{ X, Y float64 }

// Measures of a chart in pixels: the whole, and what is left around the plane.
const (
	width, height            = 640, 440
	left, right, top, bottom = 74, 24, 48, 62
	planeWidth, planeHeight  = width - left - right, height - top - bottom
	legendLine               = 20
)

// colors tell series apart, also for people who do not see red or green, and on
// paper: Okabe and Ito's.
var colors = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7"}

// Write draws the charts beside each other.
func Write(w io.Writer, charts ...Chart) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%[1]d" height="%[2]d" viewBox="0 0 %[1]d %[2]d" font-family="Helvetica, Arial, sans-serif" font-size="13" fill="#222222">`+"\n",
		width*len(charts), height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#ffffff"/>`+"\n")
	for i, c := range charts {
		if err := c.check(); err != nil {
			return fmt.Errorf("chart %q: %w", c.Title, err)
		}
		fmt.Fprintf(&b, `<g transform="translate(%d 0)">`+"\n", i*width)
		c.axes(&b)
		for _, s := range c.Series {
			c.line(&b, s)
		}
		c.legend(&b)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	_, err := b.WriteTo(w)
	return err
}

// check finds what cannot be drawn.
func (c *Chart) check() error {
	for name, axis := range map[string]Axis{"x": c.X, "y": c.Y} {
		if len(axis.Ticks) < 2 {
			return fmt.Errorf("axis %s has %d ticks, two are needed", name, len(axis.Ticks))
		}
		for i, tick := range axis.Ticks {
			if i > 0 && tick <= axis.Ticks[i-1] || axis.Log && tick <= 0 {
				return fmt.Errorf("tick %v of axis %s is out of order or has no logarithm", tick, name)
			}
		}
	}
	for _, s := range c.Series {
		for _, p := range s.Points {
			if x, y := c.place(p); !(x >= left-1 && x <= width-right+1 && y >= top-1 && y <= height-bottom+1) {
				return fmt.Errorf("point %v of series %q is not within the axes", p, s.Name)
			}
		}
	}
	return nil
}

// at returns where a value is on an axis, 0 to 1.
func (a Axis) at(v float64) float64 {
	first, last := a.Ticks[0], a.Ticks[len(a.Ticks)-1]
	if a.Log {
		v, first, last = math.Log(v), math.Log(first), math.Log(last)
	}
	return (v - first) / (last - first)
}

// place returns where a point is on the chart.
func (c *Chart) place(p Point) (x, y float64) {
	return left + planeWidth*c.X.at(p.X), top + planeHeight*(1-c.Y.at(p.Y))
}

func (c *Chart) axes(b *bytes.Buffer) {
	text(b, left+planeWidth/2, 26, `text-anchor="middle" font-size="15" font-weight="bold"`, c.Title)
	for _, tick := range c.X.Ticks {
		x := left + planeWidth*c.X.at(tick)
		fmt.Fprintf(b, `<path d="M%.1f %d V%d" stroke="#e4e4e4"/>`+"\n", x, top, height-bottom)
		text(b, x, height-bottom+18, `text-anchor="middle"`, number(tick)+c.X.Unit)
	}
	for _, tick := range c.Y.Ticks {
		y := top + planeHeight*(1-c.Y.at(tick))
		fmt.Fprintf(b, `<path d="M%d %.1f H%d" stroke="#e4e4e4"/>`+"\n", left, y, width-right)
		text(b, left-8, y+4, `text-anchor="end"`, number(tick)+c.Y.Unit)
	}
	fmt.Fprintf(b, `<path d="M%d %d V%d H%d" fill="none" stroke="#222222"/>`+"\n", left, top, height-bottom, width-right)
	text(b, left+planeWidth/2, height-18, `text-anchor="middle"`, c.X.Label)
	fmt.Fprintf(b, `<g transform="translate(18 %d) rotate(-90)">`+"\n", top+planeHeight/2)
	text(b, 0, 0, `text-anchor="middle"`, c.Y.Label)
	b.WriteString("</g>\n")
}

func (c *Chart) line(b *bytes.Buffer, s Series) {
	color := colors[s.Color%len(colors)]
	b.WriteString(`<polyline points="`)
	for _, p := range s.Points {
		x, y := c.place(p)
		fmt.Fprintf(b, "%.1f,%.1f ", x, y)
	}
	fmt.Fprintf(b, `" fill="none" stroke="%s" stroke-width="2"%s/>`+"\n", color, dashes(s))
	for _, p := range s.Points {
		x, y := c.place(p)
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", x, y, color)
	}
}

// legend names the series in the upper left corner of the plane.
func (c *Chart) legend(b *bytes.Buffer) {
	for i, s := range c.Series {
		y := top + 16 + i*legendLine
		fmt.Fprintf(b, `<path d="M%d %d H%d" stroke="%s" stroke-width="2"%s/>`+"\n",
			left+12, y, left+42, colors[s.Color%len(colors)], dashes(s))
		text(b, left+50, float64(y)+4, `stroke="#ffffff" stroke-width="4" paint-order="stroke"`, s.Name)
	}
}

func dashes(s Series) string {
	if s.Dashed {
		return ` stroke-dasharray="6 4"`
	}
	return ""
}

func text(b *bytes.Buffer, x, y float64, attributes, s string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" %s>`, x, y, attributes)
	_ = xml.EscapeText(b, []byte(s)) // a buffer takes everything
	b.WriteString("</text>\n")
}

func number(v float64) string { return fmt.Sprintf("%.10g", v) }
