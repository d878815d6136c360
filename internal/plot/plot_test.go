// SPDX-License-Identifier: Apache-2.0

package plot_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/weft-project/weft/internal/plot"
)

func chart() plot.Chart {
	return plot.Chart{
		Title: `a < b & "c"`,
		X:     plot.Axis{Label: "targets", Log: true, Ticks: []float64{1, 10, 100}},
		Y:     plot.Axis{Label: "moved", Ticks: []float64{0, 0.5, 1}, Unit: " %"},
		Series: []plot.Series{
			{Name: "one", Points: []plot.Point{{X: 1, Y: 0}, {X: 10, Y: 0.5}, {X: 100, Y: 1}}},
			{Name: "two", Points: []plot.Point{{X: 10, Y: 0.25}}, Dashed: true, Color: 1},
		},
	}
}

// TestWrite: it is well-formed XML that shows every text and point where it
// belongs.
func TestWrite(t *testing.T) {
	var b bytes.Buffer
	if err := plot.Write(&b, chart(), chart()); err != nil {
		t.Fatal(err)
	}
	texts, circles := map[string]int{}, 0
	decoder := xml.NewDecoder(&b)
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.CharData:
			texts[string(token)]++
		case xml.StartElement:
			if token.Name.Local == "circle" {
				if circles == 1 && (token.Attr[0].Value != "345.0" || token.Attr[1].Value != "213.0") {
					t.Errorf("the middle of the plane is at %v", token.Attr)
				}
				circles++
			}
		}
	}
	for _, want := range []string{`a < b & "c"`, "targets", "moved", "100", "0.5 %", "one", "two"} {
		if texts[want] != 2 {
			t.Errorf("text %q stands %d times, want 2", want, texts[want])
		}
	}
	if circles != 8 {
		t.Errorf("%d points, want 8", circles)
	}
}

func TestImpossible(t *testing.T) {
	for want, change := range map[string]func(*plot.Chart){
		"axis y has 1 ticks":             func(c *plot.Chart) { c.Y.Ticks = c.Y.Ticks[:1] },
		"tick 0 of axis x":               func(c *plot.Chart) { c.X.Ticks[0] = 0 },
		"tick 0.5 of axis y":             func(c *plot.Chart) { c.Y.Ticks[2] = 0.5 },
		`point {10 2} of series "two"`:   func(c *plot.Chart) { c.Series[1].Points[0].Y = 2 },
		`point {0 0.25} of series "two"`: func(c *plot.Chart) { c.Series[1].Points[0].X = 0 },
	} {
		c := chart()
		change(&c)
		var b bytes.Buffer
		if err := plot.Write(&b, c); err == nil || !strings.Contains(err.Error(), want) || b.Len() > 0 {
			t.Errorf("want %s: %v", want, err)
		}
	}
}
