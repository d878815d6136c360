// SPDX-License-Identifier: Apache-2.0

package up

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/weft-project/weft/internal/app/vlan"
	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

// vlanPrefix begins the names of sockets of VLAN endpoints.
const vlanPrefix = "vlan-"

// offer is the VLAN of an attractor.
type offer struct {
	trench, attractor, base string
	id                      int
	ipv4, ipv6              string
}

// startVLANs offers the VLANs of attractors to frontends. Of several hosts the one
// with the registry does so, for addresses to be given once.
func (s *Stack) startVLANs(ctx context.Context) error {
	client, err := vlan.NewClient("frontends-"+s.config.Node, s.mesh.URL(), s.security, true)
	if err != nil {
		return err
	}
	s.vlans = client
	s.onStop(client.Stop)
	if s.config.Registry != "" {
		return nil
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var offering sync.WaitGroup
	offering.Go(func() { s.offerVLANs(ctx) })
	s.onStop(func() error {
		cancel()
		offering.Wait()
		return nil
	})
	return nil
}

// offerVLANs has an endpoint for each VLAN of the resources until ctx ends.
func (s *Stack) offerVLANs(ctx context.Context) {
	news, cancel := s.store.Subscribe()
	defer cancel()
	running := map[offer]*vlan.Component{}
	defer func() {
		for o := range running {
			s.endOffer(o, running)
		}
	}()
	for {
		want := s.offers()
		for o := range running {
			if !want[o] {
				s.endOffer(o, running)
			}
		}
		var again <-chan time.Time
		for o := range want {
			if running[o] != nil {
				continue
			}
			component, err := s.startOffer(ctx, o)
			if err != nil {
				s.config.Log.Error("VLAN is not offered", "attractor", o.attractor, "trench", o.trench, "err", err)
				again = time.After(outsideRetry)
				continue
			}
			running[o] = component
		}
		select {
		case <-ctx.Done():
			return
		case <-news:
		case <-again:
		}
	}
}

func (s *Stack) offers() map[offer]bool {
	want := map[offer]bool{}
	for _, o := range s.store.Snapshot().List(v1alpha1.KindAttractor) {
		a := o.(*v1alpha1.Attractor)
		i := a.Spec.Interface
		if i.Type == v1alpha1.InterfaceNSMVlan {
			want[offer{
				a.Metadata.Trench(), a.Metadata.Name, i.NSMVlan.BaseInterface, int(*i.NSMVlan.VlanID), i.PrefixIPv4, i.PrefixIPv6,
			}] = true
		}
	}
	return want
}

func (s *Stack) startOffer(ctx context.Context, o offer) (*vlan.Component, error) {
	service := vlan.Service(o.attractor, o.trench)
	dir := filepath.Join(s.config.StateDir, "vlan")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return vlan.Start(ctx, vlan.Config{
		Name: service, Service: service, ConnectTo: s.mesh.URL(), ListenOn: s.socket(vlanPrefix + o.attractor + "." + o.trench),
		Base: o.base, VLAN: o.id, IPv4: o.ipv4, IPv6: o.ipv6, File: filepath.Join(dir, service),
	}, s.security)
}

func (s *Stack) endOffer(o offer, running map[offer]*vlan.Component) {
	if err := running[o].Stop(); err != nil {
		s.config.Log.Warn("end of a VLAN's endpoint", "attractor", o.attractor, "trench", o.trench, "err", err)
	}
	delete(running, o)
}
