// SPDX-License-Identifier: Apache-2.0

package inspect_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/weft-project/weft/internal/inspect"
	"github.com/weft-project/weft/internal/inspect/inspecttest"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

var (
	client = netip.MustParseAddr("198.51.100.7")
	toUs   = packet.Ethernet{Dst: inspecttest.MAC, Src: packet.MAC{2, 9}}
)

func tcp(src, dst netip.Addr, sport, dport uint16) []byte {
	ip := packet.IP{Src: src, Dst: dst}
	return ip.Packet(toUs, packet.TCP, ip.TCP(sport, dport, packet.SYN, []byte("hello world")))
}

func trace(t *testing.T, r inspect.Replica, frame []byte, reply bool) inspect.Decision {
	t.Helper()
	d, err := r.Trace(t.Context(), frame, reply)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestTraceNamesEverything(t *testing.T) {
	r := inspecttest.New("lb-1", &inspecttest.Plane{})
	d := trace(t, r, tcp(client, inspecttest.VIP4, 40000, 443), false)
	if len(d.Disagreements) > 0 {
		t.Errorf("disagreements %q", d.Disagreements)
	}
	if d.VIP.String() != "20.0.0.1/32" || d.Flow != "web" || d.Priority != 1 || d.Stream != "web" || d.Size != inspecttest.TableSize {
		t.Errorf("decision %+v", d)
	}
	if d.Target != "n1/a" || d.Interface != "leg-7" || d.TargetMAC.String() != "02:00:00:00:01:01" || d.From != 443 || d.To != 8443 {
		t.Errorf("decision %+v", d)
	}
	if d.Reason.Name != "forwarded" || d.Reason.Action != inspect.Sent || inspect.Summarize(d.Rewritten).DestinationPort != 8443 {
		t.Errorf("decision %+v", d)
	}
	var fields []string
	for _, m := range d.Mismatches {
		fields = append(fields, m.Flow+" "+m.Field)
	}
	if want := []string{"admin source-subnets", "get destination-ports", "sctp protocols"}; !slices.Equal(fields, want) {
		t.Errorf("mismatches %q, want %q", fields, want)
	}
	if d := trace(t, r, tcp(inspecttest.VIP4, client, 8443, 40000), true); d.From != 8443 || d.To != 443 || d.Reason.Name != "reply_forwarded" || d.Flow != "" || len(d.Disagreements) > 0 {
		t.Errorf("reply: %+v", d)
	}
	if d := trace(t, r, tcp(client, inspecttest.VIP4, 40000, 22), false); d.Rewritten != nil || d.Flow != "" || len(d.Mismatches) != 4 || len(d.Disagreements) > 0 {
		t.Errorf("no flow: %+v", d)
	}
}

// Whatever the program gets wrong is found.
func TestDisagreements(t *testing.T) {
	type decide = func([]byte, bool) (lb.Verdict, []byte)
	wrong := func(change func(*lb.Verdict, []byte)) decide {
		return func(frame []byte, reply bool) (lb.Verdict, []byte) {
			v, out := inspecttest.Decide(frame, reply)
			change(&v, out)
			return v, out
		}
	}
	to443 := tcp(client, inspecttest.VIP4, 40000, 443)
	for want, tt := range map[string]struct {
		frame  []byte
		decide decide
	}{
		"by the rules it is forwarded or fragmented, the program says no_flow":           {to443, wrong(func(v *lb.Verdict, _ []byte) { v.Reason = lb.DropNoFlow })},
		"by the rules it is no_flow, the program says forwarded":                         {tcp(client, inspecttest.VIP4, 1, 22), wrong(func(v *lb.Verdict, _ []byte) { *v = lb.Verdict{Reason: lb.Forwarded, Flow: 10, Stream: 2, Target: 7} })},
		"by the rules it is of flow web, the program took flow admin":                    {to443, wrong(func(v *lb.Verdict, _ []byte) { v.Flow = 11 })},
		"by the rules it is of flow web, the program took flow (number 99)":              {to443, wrong(func(v *lb.Verdict, _ []byte) { v.Flow = 99 })},
		"by the rules it is of stream web, the program took stream api":                  {to443, wrong(func(v *lb.Verdict, _ []byte) { v.Stream = 0 })},
		"the table of stream voice does not have target n1/a":                            {to443, wrong(func(v *lb.Verdict, _ []byte) { v.Stream = 1 })},
		"by its hash it is of slot ":                                                     {to443, wrong(func(v *lb.Verdict, _ []byte) { v.Slot++ })},
		"the program sends it to target number 8, which is not there":                    {to443, wrong(func(v *lb.Verdict, _ []byte) { v.Target = 8 })},
		"by the rules the port becomes 8443, the program made it 443":                    {to443, wrong(func(_ *lb.Verdict, out []byte) { out[36], out[37] = 1, 187 })},
		"the MAC of the target is 02:00:00:00:01:01, the program sends it to 02:00:00:0": {to443, wrong(func(_ *lb.Verdict, out []byte) { out[5] = 9 })},
	} {
		// Disagreements are checked again after a pause.
		synctest.Test(t, func(t *testing.T) {
			d := trace(t, inspecttest.New("lb-1", &inspecttest.Plane{Decide: tt.decide}), tt.frame, false)
			if !slices.ContainsFunc(d.Disagreements, func(s string) bool { return strings.HasPrefix(s, want) }) {
				t.Errorf("%q is not among %q", want, d.Disagreements)
			}
		})
	}
}

// What the program could not do again was a change in between.
func TestDisagreementOfAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		plane := &inspecttest.Plane{Decide: func(frame []byte, reply bool) (lb.Verdict, []byte) {
			if calls++; calls == 1 {
				return lb.Verdict{Reason: lb.DropNoFlow}, nil
			}
			return inspecttest.Decide(frame, reply)
		}}
		d := trace(t, inspecttest.New("lb-1", plane), tcp(client, inspecttest.VIP4, 1, 80), false)
		if len(d.Disagreements) > 0 || d.Reason.Name != "forwarded" || calls != 2 {
			t.Errorf("%d calls: %+v", calls, d)
		}
	})
}

func TestAffinityMayKeepAFlow(t *testing.T) {
	state := inspecttest.NewState()
	state.Configuration.Affinity = 1000
	state.Now.Streams[2].Targets = []string{"n1/other"}
	r := inspecttest.New("lb-1", &inspecttest.Plane{})
	r.State = state
	d := trace(t, r, tcp(client, inspecttest.VIP4, 1, 80), false)
	if len(d.Disagreements) > 0 || len(d.Notes) != 1 || !strings.Contains(d.Notes[0], "affinity") {
		t.Errorf("%+v", d)
	}
}

func TestTraceErrors(t *testing.T) {
	broken := errors.New("broken")
	r := inspecttest.New("lb-1", &inspecttest.Plane{Err: broken})
	if _, err := r.Trace(t.Context(), tcp(client, inspecttest.VIP4, 1, 80), false); !errors.Is(err, broken) || !strings.Contains(err.Error(), "lb-1") {
		t.Errorf("got %v", err)
	}
	if _, err := r.Statistics(); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.Plane = &inspecttest.Plane{Decide: func([]byte, bool) (lb.Verdict, []byte) { return lb.Verdict{Reason: lb.PassARP}, nil }}
	if _, err := r.Trace(ctx, tcp(client, inspecttest.VIP4, 1, 80), false); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
