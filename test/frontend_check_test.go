// SPDX-License-Identifier: Apache-2.0

package test

import (
	"path/filepath"
	"syscall"
	"testing"

	"github.com/weft-project/weft/internal/app/endpoint"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/testutil/router"
	frontendv1 "github.com/weft-project/weft/pkg/api/frontend/v1"
)

// TestFrontendCheck spoils a frontend by hand in one way after the other: weft
// check tells, --repair mends.
func TestFrontendCheck(t *testing.T) {
	testutil.Require(t, "bird")
	s := newStack(t)
	o := newWire(t)
	bird := router.StartBIRD(t, o.router, o.birdOf("", 1))
	s.apply(bgpGateways(""))
	r := s.addReplica(o, "trench-a", 1)
	established(t, bird)
	web := s.addWorkload("w1")
	web.attach("trench-a", "web")
	o.announced(bird, "the VIPs with a target", 1)
	socket := filepath.Join(s.dir, endpoint.FrontendSocketName(r.name))

	s.says("no differences", "check")
	for _, spoil := range []struct {
		name, kind string
		do         func()
	}{
		{"a rule", "frontend-route-missing", func() {
			withHandle(t, r.netns, func(h *nl.Handle) {
				rules, err := h.Rules()
				must(t, err)
				for _, rule := range rules {
					if rule.From.IsValid() && rule.From.Addr() == vips[0] && rule.Table == r.Component().Frontend().Table {
						must(t, h.DeleteRule(rule))
					}
				}
			})
		}},
		{"what the process is to do", "frontend-differs", func() {
			client := frontendv1.NewSpeakerClient(s.dial(socket))
			is, err := client.Get(within(t), &frontendv1.GetRequest{})
			must(t, err)
			config := is.GetConfig()
			config.Announce = nil
			_, err = client.Apply(within(t), &frontendv1.ApplyRequest{Config: config})
			must(t, err)
		}},
		{"the process stands still", "frontend-down", func() {
			must(t, syscall.Kill(speakerOf(t, socket), syscall.SIGSTOP))
		}},
	} {
		spoil.do()
		s.says(spoil.kind, "check") // a process does not stand still at once
		s.show("check", "--repair")
		established(t, bird)
		s.says("no differences", "check")
		o.announced(bird, "the VIPs after the repair of "+spoil.name, 1)
		o.reach(webPort, web)
	}
	bird.Kill()
	s.says("session-down", "check")
}
