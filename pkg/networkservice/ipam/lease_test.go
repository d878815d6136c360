// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weft-project/weft/pkg/networkservice/extracontext"
	"github.com/weft-project/weft/pkg/networkservice/leg"
	"github.com/weft-project/weft/pkg/networkservice/vacate"
)

var noLegs = fakeLegs(nil)

// leased asks with tokens: the client's and the endpoint's.
func leased(id, target string, client, own time.Duration, src ...string) *networkservice.NetworkServiceRequest {
	r := request(id, target, src...)
	r.Connection.Path = &networkservice.Path{Index: 1, PathSegments: []*networkservice.PathSegment{
		{Expires: timestamppb.New(time.Now().Add(client))}, {Expires: timestamppb.New(time.Now().Add(own))},
	}}
	return r
}

func TestLeaseOutlivesAConnectionThatHasNotLeft(t *testing.T) {
	for _, src := range []string{"", "172.16.0.9", "fd00::9"} {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t)
			var fixed []string
			if src != "" {
				fixed = append(fixed, src)
			}
			conn := f.request(t, leased("1", "a", time.Minute, 10*time.Minute, fixed...))
			if d, ok, err := extracontext.Lease(conn); d != time.Minute || !ok || err != nil {
				t.Fatalf("lease %s, %v, %v", d, ok, err)
			}
			had := conn.Context.IpContext.SrcIpAddrs
			time.Sleep(10 * time.Second)
			if _, err := f.Close(t.Context(), conn.Clone()); err != nil {
				t.Fatal(err)
			}
			_, err := f.Request(t.Context(), request("2", "b", had...))
			if s := status.Convert(err); s.Code() != codes.AlreadyExists || !strings.HasSuffix(s.Message(), "is taken by a, which is gone and may hold it for another 55s") {
				t.Fatalf("another one gets %v: %v", had, err)
			}
			again := f.request(t, leased("3", "a", time.Minute, time.Minute))
			if !slices.Equal(again.Context.IpContext.SrcIpAddrs, had) {
				t.Errorf("its owner gets %v, had %v", again.Context.IpContext.SrcIpAddrs, had)
			}
			if _, err := f.Close(vacate.With(t.Context(), true), again); err != nil {
				t.Fatal(err)
			}
			time.Sleep(54 * time.Second) // the first connection has not left
			if _, err := f.Request(t.Context(), request("2", "b", had...)); status.Code(err) != codes.AlreadyExists {
				t.Errorf("another one gets %v: %v", had, err)
			}
			time.Sleep(time.Second)
			f.request(t, request("2", "b", had...))
		})
	}
}

func TestLeaseOf(t *testing.T) {
	now := time.Now()
	for name, test := range map[string]struct{ client, own, want time.Duration }{
		"client's is shorter":     {time.Minute, 10 * time.Minute, time.Minute},
		"own is shorter":          {time.Hour, 10 * time.Minute, 10 * time.Minute},
		"client's clock is wrong": {-time.Hour, 10 * time.Minute, 10 * time.Minute},
		"no token":                {0, 0, 0},
		"no client's":             {0, time.Minute, time.Minute},
		"no own":                  {time.Minute, 0, time.Minute},
		"nearly over":             {time.Millisecond, time.Minute, time.Second},
	} {
		conn := &networkservice.Connection{Path: &networkservice.Path{Index: 1, PathSegments: []*networkservice.PathSegment{{}, {}}}}
		for i, d := range []time.Duration{test.client, test.own} {
			if d != 0 {
				conn.Path.PathSegments[i].Expires = timestamppb.New(now.Add(d))
			}
		}
		if got := leaseOf(conn, now); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

func TestExhaustedSaysWhatEndsWhen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool(t, "10.0.0.0/29") // room for five
		for i, owner := range []string{"a", "b", "c", "d", "e"} {
			if _, err := p.Claim(Claim{Owner: owner, User: owner, Lease: time.Duration(i+1) * time.Minute}); err != nil {
				t.Fatal(err)
			}
		}
		p.Release("b", false)
		p.Release("d", false)
		_, err := p.Claim(Claim{Owner: "f", User: "f"})
		want := "no free address in 10.0.0.0/29: connections that are gone may hold 2 for the rest of their leases, the next one until "
		if !errors.Is(err, ErrExhausted) || !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(err.Error(), ", in 2m5s") {
			t.Errorf("error %v", err)
		}
		time.Sleep(2*time.Minute + Margin)
		if _, err := p.Claim(Claim{Owner: "f", User: "f"}); err != nil {
			t.Error(err)
		}
	})
}

// fakeLegs are the leg interfaces behind addresses.
type fakeLegs map[netip.Addr]string

func (l fakeLegs) All() (map[netip.Addr]string, error) { return l, nil }

func (l fakeLegs) At(addr netip.Addr) (string, error) { return l[addr], nil }

func (l fakeLegs) Of(name string) (addrs []netip.Addr, err error) {
	for addr, of := range l {
		if of == name {
			addrs = append(addrs, addr)
		}
	}
	return addrs, nil
}

// kept makes a pool that keeps a ledger in dir.
func kept(t *testing.T, dir string, log *slog.Logger, legs Legs) *Pool {
	t.Helper()
	ledger, err := OpenLedger(dir, "lb-1")
	if err != nil {
		t.Fatal(err)
	}
	p := pool(t, "172.16.0.0/24", "fd00::/64")
	if err := p.Adopt(Past{Ledger: ledger, Legs: legs, Longest: time.Minute, Log: log}); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	f := start(t)
	f.pool = kept(t, dir, slog.Default(), noLegs)
	f.NetworkServiceServer = chain.NewNetworkServiceServer(metadata.NewServer(), NewServer(f.pool), f.next)
	a := f.request(t, leased("1", "a", time.Minute, time.Minute))
	full := func() {
		if err := os.Symlink("/dev/full", filepath.Join(dir, "leases-lb-1.json.new")); err != nil {
			t.Fatal(err)
		}
	}
	full()
	_, err := f.Request(t.Context(), leased("2", "b", time.Minute, time.Minute))
	if s := status.Convert(err); s.Code() != codes.Unavailable || !strings.Contains(s.Message(), "store leases: write "+dir) ||
		!strings.Contains(s.Message(), "no space left on device") {
		t.Errorf("a new connection: %v", err)
	}
	if len(f.pool.owners) != 1 {
		t.Errorf("owners %v", f.pool.owners)
	}
	full()
	f.request(t, &networkservice.NetworkServiceRequest{Connection: a.Clone()}) // a refresh goes on
	_ = os.Remove(filepath.Join(dir, "leases-lb-1.json.new"))
	f.request(t, leased("2", "b", time.Minute, time.Minute))
	if again := kept(t, dir, slog.Default(), noLegs); len(again.owners) != 2 {
		t.Errorf("after a restart: %v", again.owners)
	}
}

func TestDamagedLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		p := kept(t, dir, slog.Default(), noLegs)
		granted, err := p.Claim(Claim{Owner: "a", User: "1", Lease: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Store(); err != nil {
			t.Fatal(err)
		}
		had := granted.Addresses
		path := filepath.Join(dir, "leases-lb-1.json")
		for _, damage := range []string{"", "{}", `{"Version":1} more`, `{"Version":1,"Holds":[{"Owner":"a"}]}`, `{"Version":1,"What":2}`} {
			if err := os.WriteFile(path, []byte(damage), 0o600); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			// The second start finds a good file that says that it knows nothing.
			for range 2 {
				p = kept(t, dir, slog.New(slog.NewTextHandler(&log, nil)), noLegs)
				_, err = p.Claim(Claim{Owner: "b", User: "2", Lease: time.Minute})
				if !errors.Is(err, ErrExhausted) || !strings.Contains(err.Error(), "for another 1m5s: the leases of an earlier run in "+path) {
					t.Errorf("%q: %v", damage, err)
				}
				var taken *TakenError
				if _, err = p.Claim(Claim{Owner: "b", User: "2", Want: had, Insist: true}); !errors.As(err, &taken) || taken.For != time.Minute+Margin {
					t.Errorf("%q: %v", damage, err)
				}
			}
			if !strings.Contains(log.String(), path) {
				t.Errorf("%q: log %s", damage, log.String())
			}
			if again, err := p.Claim(Claim{Owner: "a", User: "1", Want: had, Lease: time.Minute}); err != nil || !slices.Equal(again.Addresses, had) {
				t.Errorf("%q: %v, %v, had %v", damage, again.Addresses, err, had)
			}
			time.Sleep(time.Minute + Margin)
			if _, err := p.Claim(Claim{Owner: "b", User: "2", Lease: time.Minute}); err != nil {
				t.Errorf("%q: %v", damage, err)
			}
		}
	})
}

// TestAdoptLegs: without a ledger the interfaces tell.
func TestAdoptLegs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		addr := netip.MustParseAddr("172.16.0.9")
		name := leg.InterfaceName("1")
		legs := map[netip.Addr]string{addr: name, netip.MustParseAddr("192.168.0.1"): "leg-x"}
		p := pool(t, "172.16.0.0/24")
		if err := p.Adopt(Past{Legs: fakeLegs(legs), Longest: time.Minute}); err != nil {
			t.Fatal(err)
		}
		stranger := Claim{Owner: "b", User: "2", Want: []netip.Addr{addr}, Insist: true}
		time.Sleep(10 * time.Minute) // the interface is still there
		if _, err := p.Claim(stranger); err == nil || !strings.Contains(err.Error(), "interface "+name+" of an earlier run") {
			t.Errorf("a stranger: %v", err)
		}
		got, err := p.Claim(Claim{Owner: "a", User: name})
		if err != nil || got.Addresses[0] != addr {
			t.Errorf("its connection: %v, %v", got.Addresses, err)
		}
		got.Undo()
		delete(legs, addr)
		time.Sleep(2 * Margin)
		if _, err := p.Claim(stranger); err != nil {
			t.Errorf("when the interface is gone: %v", err)
		}
	})
}

// TestOwnLegThatIsBeingDeleted: the interface of a connection of this run, which
// is there for a moment after it was closed, keeps nobody from the address.
func TestOwnLegThatIsBeingDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		legs := fakeLegs{}
		p := pool(t, "10.0.0.0/29")
		if err := p.Adopt(Past{Legs: legs, Longest: time.Minute}); err != nil {
			t.Fatal(err)
		}
		first := claim(t, p, "a", "leg-1")
		for i := range 20 {
			legs[first] = fmt.Sprint("leg-", i+1)
			p.Release(fmt.Sprint("leg-", i+1), true)
			claim(t, p, "b", "leg-b") // looks at the legs
			if again := claim(t, p, "a", fmt.Sprint("leg-", i+2)); again != first {
				t.Fatalf("round %d: %s, want %s", i, again, first)
			}
		}
	})
}

func claim(t *testing.T, p *Pool, owner, user string) netip.Addr {
	t.Helper()
	grant, err := p.Claim(Claim{Owner: owner, User: user, Lease: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return grant.Addresses[0]
}
