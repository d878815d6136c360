// SPDX-License-Identifier: Apache-2.0

package extracontext_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/weft-project/weft/pkg/networkservice/extracontext"
)

func TestStreams(t *testing.T) {
	for name, tc := range map[string]struct {
		extra  map[string]string
		labels map[string]string
		want   []string
		err    string
	}{
		"nothing":            {},
		"label, commas":      {labels: map[string]string{"streams": "web,api"}, want: []string{"api", "web"}},
		"label, plus":        {labels: map[string]string{"streams": "web+api"}, want: []string{"api", "web"}},
		"extra context wins": {extra: map[string]string{"weft.dev/streams": "a"}, labels: map[string]string{"streams": "b"}, want: []string{"a"}},
		"empty extra wins":   {extra: map[string]string{"weft.dev/streams": ""}, labels: map[string]string{"streams": "b"}},
		"empty name":         {extra: map[string]string{"weft.dev/streams": "a,,b"}, err: `extra context weft.dev/streams "a,,b": a name is empty`},
		"trailing comma":     {extra: map[string]string{"weft.dev/streams": "a,"}, err: `extra context weft.dev/streams "a,": a name is empty`},
		"plus in extra":      {extra: map[string]string{"weft.dev/streams": "a+b"}, err: `extra context weft.dev/streams "a+b": name "a+b" holds the character '+'`},
		"twice":              {labels: map[string]string{"streams": "a+a"}, err: `label streams "a+a": stream "a" is named twice`},
		"space":              {labels: map[string]string{"streams": "a, b"}, err: `label streams "a, b": name " b" holds the character ' '`},
		"not UTF-8":          {extra: map[string]string{"weft.dev/streams": "a\xff"}, err: `extra context weft.dev/streams "a\xff": name "a\xff" holds the character '�'`},
	} {
		t.Run(name, func(t *testing.T) {
			conn := &networkservice.Connection{
				Labels:  tc.labels,
				Context: &networkservice.ConnectionContext{ExtraContext: tc.extra},
			}
			got, err := extracontext.Streams(conn)
			if text := errText(err); text != tc.err {
				t.Fatalf("error %q, want %q", text, tc.err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSetStreamsSortsAndOverrides(t *testing.T) {
	conn := &networkservice.Connection{Labels: map[string]string{"streams": "old"}}
	extracontext.SetStreams(conn, []string{"b", "a", "b"})
	if got := conn.GetContext().GetExtraContext()[extracontext.StreamsKey]; got != "a,b" {
		t.Errorf("value %q, want a,b", got)
	}
	extracontext.SetStreams(conn, nil)
	if got, err := extracontext.Streams(conn); err != nil || len(got) != 0 {
		t.Errorf("streams %v, %v after setting none", got, err)
	}
}

func TestTarget(t *testing.T) {
	conn := &networkservice.Connection{}
	if got, err := extracontext.Target(conn); got != "" || err != nil {
		t.Errorf("target %q, %v without a key", got, err)
	}
	extracontext.SetTarget(conn, "pod-1.ns/nsm-1")
	if got, err := extracontext.Target(conn); got != "pod-1.ns/nsm-1" || err != nil {
		t.Errorf("target %q, %v", got, err)
	}
	for value, want := range map[string]string{
		"":                       "extra context weft.dev/target: a name is empty",
		strings.Repeat("x", 254): "extra context weft.dev/target: a name has 254 bytes, more than 253",
		"a\nb":                   `extra context weft.dev/target: name "a\nb" holds the character '\n'`,
	} {
		extracontext.SetTarget(conn, value)
		if _, err := extracontext.Target(conn); errText(err) != want {
			t.Errorf("target %q: error %q, want %q", value, errText(err), want)
		}
	}
}

func TestWeightAndDrain(t *testing.T) {
	for name, tc := range map[string]struct {
		extra, labels map[string]string
		weight        uint16
		drain         bool
		err           string
	}{
		"nothing":            {weight: 1},
		"labels":             {labels: map[string]string{"weight": "7", "drain": "true"}, weight: 7, drain: true},
		"extra context wins": {extra: map[string]string{"weft.dev/weight": "0", "weft.dev/drain": "false"}, labels: map[string]string{"weight": "7", "drain": "true"}},
		"label too large":    {labels: map[string]string{"weight": "1001"}, err: `label weight: weight is out of range: "1001" is not a whole number from 0 to 1000`},
		"extra no number":    {extra: map[string]string{"weft.dev/weight": ""}, err: `extra context weft.dev/weight: weight is out of range: "" is not a whole number from 0 to 1000`},
		"label drain":        {labels: map[string]string{"drain": "yes"}, err: `label drain: "yes" is not "true" or "false"`},
		"extra drain":        {extra: map[string]string{"weft.dev/drain": "True"}, err: `extra context weft.dev/drain: "True" is not "true" or "false"`},
	} {
		conn := &networkservice.Connection{Labels: tc.labels, Context: &networkservice.ConnectionContext{ExtraContext: tc.extra}}
		weight, err := extracontext.Weight(conn)
		drain, drainErr := extracontext.Drain(conn)
		if text := errText(errors.Join(err, drainErr)); text != tc.err || tc.err == "" && (weight != tc.weight || drain != tc.drain) {
			t.Errorf("%s: %d, %v, error %q", name, weight, drain, text)
		}
	}
	conn := &networkservice.Connection{Labels: map[string]string{"weight": "7", "drain": "true"}}
	extracontext.SetWeight(conn, 1000)
	extracontext.SetDrain(conn, false)
	weight, err := extracontext.Weight(conn)
	drain, drainErr := extracontext.Drain(conn)
	if weight != 1000 || drain || err != nil || drainErr != nil {
		t.Errorf("set: %d, %v, %v, %v", weight, drain, err, drainErr)
	}
}

func TestEndpointBringsUp(t *testing.T) {
	conn := &networkservice.Connection{}
	if up, err := extracontext.EndpointBringsUp(conn); up || err != nil {
		t.Errorf("%v, %v without a key", up, err)
	}
	extracontext.SetEndpointBringsUp(conn)
	if up, err := extracontext.EndpointBringsUp(conn); !up || err != nil {
		t.Errorf("%v, %v when set", up, err)
	}
	conn.Context.ExtraContext[extracontext.LinkKey] = "maybe"
	if _, err := extracontext.EndpointBringsUp(conn); errText(err) != `extra context weft.dev/link: "maybe", want "endpoint"` {
		t.Errorf("error %v", err)
	}
}

func TestGateway(t *testing.T) {
	mac := extracontext.GatewayMAC()
	mac[5] = 0xff
	if got := extracontext.GatewayMAC().String(); got != "02:57:45:46:54:01" {
		t.Errorf("gateway MAC %s: a caller changed it", got)
	}
	if !extracontext.Gateway4.IsLinkLocalUnicast() || !extracontext.Gateway6.IsLinkLocalUnicast() {
		t.Error("a gateway address is not link-local")
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
