// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/weft-project/weft/internal/app/inspector"
	"github.com/weft-project/weft/internal/cli"
	"github.com/weft-project/weft/internal/inspect"
	"github.com/weft-project/weft/internal/inspect/inspecttest"
	"github.com/weft-project/weft/internal/packet"
	balancerv1 "github.com/weft-project/weft/pkg/api/balancer/v1"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

var outside = netip.MustParseAddr("198.51.100.7")

// packets are what captures of the tests hold: one that is balanced, one for
// another MAC, a later fragment and a ping.
func packets() [][]byte {
	ip := packet.IP{Src: outside, Dst: inspecttest.VIP4}
	to := packet.Ethernet{Dst: inspecttest.MAC, Src: sender}
	elsewhere := packet.Ethernet{Dst: packet.MAC{2, 2, 2, 2, 2, 2}, Src: sender}
	later := packet.IP{Src: outside, Dst: inspecttest.VIP4, Fragment: 100}
	proto, ping := ip.ICMP(packet.EchoReplyV4, 0, make([]byte, 4))
	return [][]byte{
		ip.Packet(to, packet.TCP, ip.TCP(40000, 443, packet.SYN|packet.ACK, nil)),
		ip.Packet(elsewhere, packet.UDP, ip.UDP(40000, 80, []byte("hello"))),
		later.Packet(to, packet.UDP, make([]byte, 24)),
		ip.Packet(to, proto, ping),
	}
}

// capture writes a capture file and returns its path.
func capture(t *testing.T, link layers.LinkType, ng bool, list ...[]byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "capture")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var write func(gopacket.CaptureInfo, []byte) error
	flush := func() error { return nil }
	if ng {
		w, err := pcapgo.NewNgWriter(f, link)
		if err != nil {
			t.Fatal(err)
		}
		write, flush = w.WritePacket, w.Flush
	} else {
		w := pcapgo.NewWriter(f)
		if err := w.WriteFileHeader(65535, link); err != nil {
			t.Fatal(err)
		}
		write = w.WritePacket
	}
	for _, data := range list {
		if err := write(gopacket.CaptureInfo{Timestamp: epoch, CaptureLength: len(data), Length: len(data)}, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := flush(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTrace(t *testing.T) {
	h := newHost(t)
	h.replicas = []inspect.Replica{inspecttest.New("lb-1", &inspecttest.Plane{})}
	golden(t, "trace", h,
		"trace packet --in ext0 --src 198.51.100.7 --dst 20.0.0.1 --dport 443",
		"trace packet --in ext0 --src 198.51.100.7 --dst 20.0.0.1 --dport 443 -o wide",
		"trace packet --src 2001:db8::7 --dst 2000::1 --proto udp --sport 9 --dport 80 --payload 0a:0b:0c --ttl 3 --length 100 -o json",
		"trace packet --src 198.51.100.7 --dst 20.0.0.1 --dport 22 --flags syn,ack -o yaml",
		"trace packet --src 198.51.100.7 --dst 20.0.0.1 --dport 80 --ttl 1",
		"trace packet --src 198.51.100.7 --dst 20.0.0.1 --proto sctp --dport 5000",
		"trace packet --src 198.51.100.7 --dst 192.0.2.1 --dport 80",
		"trace packet --src 198.51.100.7 --dst 20.0.1.1 --dport 80",
		"trace packet --reply --src 20.0.0.1 --sport 8443 --dst 198.51.100.7 --dport 40000",
		"trace packet --reply --src 2000::1 --dst 2001:db8::7 --proto udp --dport 1",
	)
}

func TestTraceErrors(t *testing.T) {
	h := newHost(t)
	golden(t, "trace_none", h, "trace packet --src 198.51.100.7 --dst 20.0.0.1", "top -n 1 --interval 1ms")
	h.replicas = []inspect.Replica{inspecttest.New("lb-1", &inspecttest.Plane{}), inspecttest.New("lb-2", &inspecttest.Plane{})}
	h.replicas[1].MAC = nil
	golden(t, "trace_errors", h,
		"trace",
		"trace pocket",
		"trace packet --src 198.51.100.7 --dst 20.0.0.1",
		"trace packet --src 198.51.100.7 --dst 20.0.0.1 --in ext0",
		"trace packet --src 198.51.100.7 --dst 20.0.0.1 --in ext9",
		"trace packet --src 198.51.100.7 --dst 20.0.0.1 --replica lb-2",
		"trace packet --src 198.51.100.7 --dst 20.0.0.1 --replica lb-3",
		"trace packet --replica lb-1",
		"trace packet --replica lb-1 --src 198.51.100.7",
		"trace packet --replica lb-1 --src ::1 --dst 20.0.0.1",
		"trace packet --replica lb-1 --src x --dst 20.0.0.1",
		"trace packet --replica lb-1 --src 198.51.100.7 --dst 20.0.0.1 --proto gre",
		"trace packet --replica lb-1 --src 198.51.100.7 --dst 20.0.0.1 --payload xyz",
		"trace packet --replica lb-1 --src 198.51.100.7 --dst 20.0.0.1 --flags syn,nack",
		"trace packet --replica lb-1 --src 198.51.100.7 --dst 20.0.0.1 --length 39",
		"trace packet --replica lb-1 --src 198.51.100.7 --dst 20.0.0.1 --ttl 0",
		"trace packet --replica lb-1 --src 198.51.100.7 --dst 20.0.0.1 --vlan 4095",
		"trace packet --replica lb-1 --src 198.51.100.7 --dst 20.0.0.1 --dport 65536",
		"trace packet --replica lb-1 --pcap x --dst 20.0.0.1",
		"trace packet --replica lb-1 --pcap nonexistent.pcap",
		"trace packet --replica lb-1 --set-mac --src 198.51.100.7",
	)
}

// Rules and program that disagree are a failure that nobody overlooks.
func TestTraceDisagreement(t *testing.T) {
	h := newHost(t)
	h.replicas = []inspect.Replica{inspecttest.New("lb-1", &inspecttest.Plane{Decide: func(frame []byte, reply bool) (lb.Verdict, []byte) {
		v, out := inspecttest.Decide(frame, reply)
		v.Flow = 11
		return v, out
	}})}
	golden(t, "trace_disagreement", h, "trace packet --src 198.51.100.7 --dst 20.0.0.1 --dport 80")
}

func TestTraceCapture(t *testing.T) {
	h := newHost(t)
	h.replicas = []inspect.Replica{inspecttest.New("lb-1", &inspecttest.Plane{})}
	for name, tt := range map[string]struct {
		path, flags, want string
	}{
		"pcap":    {capture(t, layers.LinkTypeEthernet, false, packets()...), "", "forwarded pass_not_host no_flow no_flow"},
		"pcapng":  {capture(t, layers.LinkTypeEthernet, true, packets()...), "", "forwarded pass_not_host no_flow no_flow"},
		"set MAC": {capture(t, layers.LinkTypeEthernet, false, packets()...), " --set-mac", "forwarded forwarded no_flow no_flow"},
		"raw":     {capture(t, layers.LinkTypeRaw, false, packets()[0][14:], packets()[1][14:]), "", "forwarded forwarded"},
		"IPv4":    {capture(t, layers.LinkTypeIPv4, true, packets()[0][14:]), "", "forwarded"},
	} {
		o := h.line("trace packet -o json --pcap " + tt.path + tt.flags)
		var v traceView
		if err := json.Unmarshal([]byte(o.stdout), &v); err != nil {
			t.Fatalf("%s: %v: %s", name, err, o.stderr)
		}
		var got []string
		for i, d := range v.Decisions {
			got = append(got, d.Reason)
			if d.Frame != i+1 {
				t.Errorf("%s: frame %d has number %d", name, i+1, d.Frame)
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %v, want %s", name, got, tt.want)
		}
	}
	data, err := os.ReadFile(capture(t, layers.LinkTypeEthernet, false, packets()[:3]...))
	if err != nil {
		t.Fatal(err)
	}
	h.stdin = string(data)
	golden(t, "trace_capture", h, "trace packet --pcap -")
	for name, tt := range map[string]struct{ path, want string }{
		"empty":     {capture(t, layers.LinkTypeEthernet, true), "there is no packet in it"},
		"link type": {capture(t, layers.LinkTypeLoop, false, packets()[0]), "packet 1: link type Loop is neither Ethernet nor raw IP"},
		"nonsense":  {"inspect_test.go", "neither pcap nor pcapng"},
		"short":     {capture(t, layers.LinkTypeEthernet, false, []byte{1, 2}), "2 bytes are no Ethernet frame"},
	} {
		if o := h.line("trace packet --pcap " + tt.path); o.code != 1 || !strings.Contains(o.stderr, tt.want) {
			t.Errorf("%s: exit code %d, %s; want %q", name, o.code, o.stderr, tt.want)
		}
	}
}

// A capture of any size goes through in requests that the server takes.
func TestTraceLargeCapture(t *testing.T) {
	h := newHost(t)
	h.replicas = []inspect.Replica{inspecttest.New("lb-1", &inspecttest.Plane{})}
	ip := packet.IP{Src: outside, Dst: inspecttest.VIP4}
	large := ip.Packet(packet.Ethernet{Dst: inspecttest.MAC}, packet.UDP, ip.UDP(1, 80, make([]byte, 60000)))
	list := append(slices.Repeat([][]byte{packets()[0]}, 450), slices.Repeat([][]byte{large}, 12)...)
	var v traceView
	if err := json.Unmarshal([]byte(h.must("trace packet -o json --pcap "+capture(t, layers.LinkTypeEthernet, false, list...))), &v); err != nil {
		t.Fatal(err)
	}
	if n := len(v.Decisions); n != len(list) || v.Decisions[n-1].Packet.Length != uint32(len(large)) || v.Decisions[n-1].Frame != n {
		t.Errorf("%d of %d packets", n, len(list))
	}
}

// busy is a plane whose counters grow with every look.
func busy() *inspecttest.Plane {
	return &inspecttest.Plane{
		Reasons: map[lb.Reason]uint64{lb.Forwarded: 1000, lb.DropNoFlow: 0, lb.DropTTL: 5, lb.PassARP: 0},
		Traffic: map[uint32]lb.Traffic{},
		Tick: func(p *inspecttest.Plane) {
			add := func(key uint32, packets, bytes uint64) {
				t := p.Traffic[key]
				p.Traffic[key] = lb.Traffic{Packets: t.Packets + packets, Bytes: t.Bytes + bytes}
			}
			p.Reasons[lb.Forwarded] += 12345
			p.Reasons[lb.DropNoFlow] += 7
			add(10, 12000, 12000*1500)
			add(11, 345, 345*60)
			add(1002, 12345, 12000*1500+345*60)
			add(2007, 12345, 12000*1500+345*60)
			p.Slow.Cut++
			p.Slow.Held = 3
		},
	}
}

func TestTop(t *testing.T) {
	h := newHost(t)
	h.replicas = []inspect.Replica{inspecttest.New("lb-1", busy()), inspecttest.New("lb-2", &inspecttest.Plane{})}
	golden(t, "top", h,
		"top -n 2 --interval 1ms --replica lb-1",
		"top -n 1 --interval 1ms --rows 1",
		"top -n 1 --interval 1ms -o json",
		"top -n 1 --interval 1ms --replica lb-2 -o yaml",
		"top --replica lb-9",
		"top --interval 0s",
		"top -n -1",
		"top --rows -1",
	)
	h.tty = true
	if out := h.must("top -n 2 --interval 1ms"); strings.Count(out, redraw) != 2 || !strings.HasPrefix(out, redraw) {
		t.Errorf("on a terminal: %q", out)
	}
}

// Counters that begin again are compared with zero, and so is what is new.
func TestRatesAfterARestart(t *testing.T) {
	var replicas []inspect.Replica
	at := epoch
	look := func() *balancerv1.StatisticsResponse {
		server := inspector.NewServer(func() []inspect.Replica { return replicas })
		server.Now = func() time.Time { at = at.Add(time.Second); return at }
		resp, err := server.Statistics(t.Context(), &balancerv1.StatisticsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	plane := &inspecttest.Plane{Traffic: map[uint32]lb.Traffic{10: {Packets: 1000, Bytes: 1000}}}
	replicas = []inspect.Replica{inspecttest.New("lb-1", plane)}
	before := look()
	plane.Traffic = map[uint32]lb.Traffic{10: {Packets: 10, Bytes: 10}}
	replicas = append(replicas, inspecttest.New("lb-2", plane))
	v := rates(before, look())
	for _, r := range v.Replicas {
		if l := r.Flows[0]; l.Name != "web" || l.PacketsPerSec != 10 || *l.BitsPerSec != 80 {
			t.Errorf("%s: %+v", r.Replica, l)
		}
	}
	if v := rates(before, before); v.Replicas[0].Flows[0].PacketsPerSec != 0 {
		t.Errorf("in no time: %+v", v)
	}
}

func TestQuantity(t *testing.T) {
	for want, v := range map[string]float64{"0.00": 0, "1.50": 1.5, "10.0": 9.999, "99.9": 99.9, "100": 99.96, "1.00k": 999.9, "12.3k": 12345, "1.23M": 1.23e6, "40.0G": 4e10, "2.5T": 2.5e12} {
		if got := quantity(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}

func observed() *inspecttest.Plane {
	plane := busy()
	at := epoch.Add(time.Second)
	plane.Events = []lb.Event{
		{Time: at, Reason: lb.Forwarded, Src: outside, Dst: inspecttest.VIP4, Protocol: packet.TCP, SourcePort: 40000, DestinationPort: 80, Length: 74, Flow: 10, Stream: 2, Target: 7},
		{Time: at, Reason: lb.DropNoFlow, Src: netip.MustParseAddr("2001:db8::7"), Dst: inspecttest.VIP6, Protocol: packet.UDP, SourcePort: 9, DestinationPort: 9, Length: 90},
		{Time: at, Reply: true, Reason: lb.ReplyForwarded, Src: inspecttest.VIP4, Dst: outside, Protocol: packet.TCP, SourcePort: 80, DestinationPort: 40000, Length: 66},
		{Time: at, Reason: lb.PassNotIP, Length: 60},
	}
	return plane
}

func TestObserve(t *testing.T) {
	h := newHost(t)
	plane := observed()
	h.replicas = []inspect.Replica{inspecttest.New("lb-1", plane)}
	golden(t, "observe", h,
		"observe --count 4",
		"observe --count 4 -o json --reason drop",
		"observe --count 1 -o yaml --src 198.51.100.0/24 --dst 20.0.0.1 --proto tcp --port 80 --reason forwarded --reason no_flow --rate 5 --sample 3",
		"observe --src 198.51.100.0/33",
		"observe --dst x",
		"observe --src 198.51.100.1 --dst 2000::1",
		"observe --proto gre",
		"observe --port 65536",
		"observe --rate 2000000",
		"observe --rate 0",
		"observe --sample 0",
		"observe --replica lb-9",
	)
	want := lb.Filter{
		Src: netip.MustParsePrefix("198.51.100.0/24"), Dst: netip.MustParsePrefix("20.0.0.1/32"), Protocol: packet.TCP, Port: 80,
		Reasons: []lb.Reason{lb.Forwarded, lb.DropNoFlow}, Rate: 5, Sample: 3,
	}
	if diff := cmp.Diff(want, plane.Filters()[2], cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("filter (-want +got):\n%s", diff)
	}
}

func TestObserveUnknownReason(t *testing.T) {
	h := newHost(t)
	h.replicas = []inspect.Replica{inspecttest.New("lb-1", observed())}
	o := h.line("observe --reason drop --reason lost")
	if o.code != 1 || !strings.Contains(o.stderr, `weft: reasons[1]: there is no reason "lost"; there are drop and arp_answered`) {
		t.Errorf("%+v", o)
	}
}

// An interrupt ends the observation well, with its last line.
func TestObserveInterrupted(t *testing.T) {
	h := newHost(t)
	h.replicas = []inspect.Replica{inspecttest.New("lb-1", observed())}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stdout, pipe := io.Pipe()
	var stderr bytes.Buffer
	env := &cli.Env{
		Stdin: strings.NewReader(""), Stdout: pipe, Stderr: &stderr,
		Getenv: func(k string) string { return h.env[k] }, Now: func() time.Time { return now },
	}
	code := make(chan int, 1)
	go func() {
		code <- Run(ctx, env, []string{"observe"})
		pipe.Close()
	}()
	data := make([]byte, 4096)
	for range 4 { // every line is one write
		if _, err := stdout.Read(data); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if rest, err := io.ReadAll(stdout); err != nil || len(rest) > 0 {
		t.Errorf("output after the interrupt: %q, %v", rest, err)
	}
	if c := <-code; c != 0 || !strings.HasPrefix(stderr.String(), "shown 4, lost 0 ") {
		t.Errorf("exit code %d: %s", c, stderr.String())
	}
}
