// SPDX-License-Identifier: Apache-2.0

package attachment_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/attachment"
)

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

// TestBadSpecifications: each is refused with its field and changes nothing.
func TestBadSpecifications(t *testing.T) {
	tests := map[string]struct {
		change func(*attachment.Spec)
		kind   attachment.Kind
		field  string
		text   string
	}{
		"no service":         {func(s *attachment.Spec) { s.NetworkService = "" }, attachment.Invalid, "network_service", "is needed"},
		"service with slash": {func(s *attachment.Spec) { s.NetworkService = "lb/a" }, attachment.Invalid, "network_service", `"lb/a"`},
		"service with ..":    {func(s *attachment.Spec) { s.NetworkService = "lb..a" }, attachment.Invalid, "network_service", `"lb..a"`},
		"long service":       {func(s *attachment.Spec) { s.NetworkService = strings.Repeat("a", 254) }, attachment.Invalid, "network_service", "254"},
		"16-byte interface":  {func(s *attachment.Spec) { s.Interface = "0123456789abcdef" }, attachment.Invalid, "interface", "16 bytes"},
		"interface slash":    {func(s *attachment.Spec) { s.Interface = "a/b" }, attachment.Invalid, "interface", `"a/b"`},
		"interface percent":  {func(s *attachment.Spec) { s.Interface = "nsm-%d" }, attachment.Invalid, "interface", `"nsm-%d"`},
		"interface dots":     {func(s *attachment.Spec) { s.Interface = ".." }, attachment.Invalid, "interface", `".."`},
		"interface present":  {func(s *attachment.Spec) { s.Interface = "eth0" }, attachment.Exists, "interface", `"eth0"`},
		"interface attached": {func(s *attachment.Spec) { s.Interface = "nsm-9" }, attachment.Exists, "interface", `"first"`},
		"name taken":         {func(s *attachment.Spec) { s.Name = "first" }, attachment.Exists, "name", `"first"`},
		"name upper case":    {func(s *attachment.Spec) { s.Name = "A" }, attachment.Invalid, "name", `"A"`},
		"name slash":         {func(s *attachment.Spec) { s.Name = "../a" }, attachment.Invalid, "name", `"../a"`},
		"name long":          {func(s *attachment.Spec) { s.Name = strings.Repeat("a", 64) }, attachment.Invalid, "name", "64"},
		"stream comma":       {func(s *attachment.Spec) { s.Streams = []string{"a,b"} }, attachment.Invalid, "streams", `"a,b"`},
		"stream empty":       {func(s *attachment.Spec) { s.Streams = []string{""} }, attachment.Invalid, "streams", `""`},
		"stream twice":       {func(s *attachment.Spec) { s.Streams = []string{"a", "a"} }, attachment.Invalid, "streams", "twice"},
		"label without key":  {func(s *attachment.Spec) { s.Labels = map[string]string{"": "x"} }, attachment.Invalid, "labels", `"=x"`},
		"weight large":       {func(s *attachment.Spec) { s.Labels = map[string]string{"weight": "1001"} }, attachment.Invalid, "labels[weight]", `"1001"`},
		"weight empty":       {func(s *attachment.Spec) { s.Labels = map[string]string{"weight": ""} }, attachment.Invalid, "labels[weight]", `""`},
		"drain":              {func(s *attachment.Spec) { s.Labels = map[string]string{"drain": "yes"} }, attachment.Invalid, "labels[drain]", `"yes"`},
		"streams disagree": {func(s *attachment.Spec) {
			s.Labels = map[string]string{"streams": "dns"}
		}, attachment.Invalid, "labels", "streams=dns"},
		"label stream bad": {func(s *attachment.Spec) {
			s.Streams, s.Labels = nil, map[string]string{"streams": "a/b"}
		}, attachment.Invalid, "streams", `"a/b"`},
		"address invalid":   {func(s *attachment.Spec) { s.Addresses = []netip.Prefix{{}} }, attachment.Invalid, "addresses", "number 1"},
		"address loopback":  {func(s *attachment.Spec) { s.Addresses = prefixes("127.0.0.1/32") }, attachment.Invalid, "addresses", "127.0.0.1/32"},
		"address mapped":    {func(s *attachment.Spec) { s.Addresses = prefixes("::ffff:10.0.0.1/128") }, attachment.Invalid, "addresses", "::ffff:10.0.0.1"},
		"addresses overlap": {func(s *attachment.Spec) { s.Addresses = prefixes("10.0.0.1/24", "10.0.0.2/24") }, attachment.Invalid, "addresses", "overlaps"},
		"address taken":     {func(s *attachment.Spec) { s.Addresses = prefixes("10.9.0.1/24") }, attachment.Exists, "addresses", `"first"`},
		"address foreign":   {func(s *attachment.Spec) { s.Addresses = prefixes("192.0.2.1/32") }, attachment.Invalid, "addresses", "192.0.2.1/32"},
		"namespace gone":    {func(s *attachment.Spec) { s.NetNS = namespace(66) }, attachment.NotFound, "netns", "gone"},
	}
	in(t, func(t *testing.T, w *world) {
		w.mesh.add("lb.trench-a", "lb-1", "web", "dns")
		w.node.interfaces["1/eth0"] = true
		w.node.dead[namespace(66)] = true
		first := spec("first", "web")
		first.Interface, first.Addresses = "nsm-9", prefixes("10.9.0.9/32")
		w.mustAttach(first, time.Second)
		for name, test := range tests {
			wanted := spec("a", "web")
			test.change(&wanted)
			_, err := w.Attach(t.Context(), wanted, time.Second)
			var reason *attachment.Error
			if !errors.As(err, &reason) || reason.Kind != test.kind || reason.Field != test.field || !strings.Contains(err.Error(), test.text) {
				t.Errorf("%s: error is %v", name, err)
			}
		}
		if n := len(w.List(attachment.Filter{})); n != 1 {
			t.Errorf("%d attachments, want the first one only", n)
		}
		if w.node.uses[namespace(1)] != 1 || len(w.node.uses) != 1 {
			t.Errorf("watched namespaces: %v", w.node.uses)
		}
	})
}

func TestGoodSpecifications(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.mesh.add("my.service@other.domain", "lb-1", "web", "dns")
		for _, iface := range []string{"a", "0123456789abcde", "eth0.100", "x@y", "_"} {
			wanted := spec("", "web")
			wanted.NetworkService, wanted.Interface = "my.service@other.domain", iface
			w.mustAttach(wanted, time.Second)
		}
		labelled := spec("labelled")
		labelled.NetworkService, labelled.Interface = "my.service@other.domain", "l"
		labelled.Labels = map[string]string{"streams": "web+dns", "app": "x"}
		a := w.mustAttach(labelled, time.Second)
		if len(a.Spec.Streams) != 2 || a.Spec.Streams[0] != "dns" || len(a.Spec.Labels) != 1 {
			t.Errorf("spec is %+v", a.Spec)
		}
	})
}

func TestMACIsLocalUnicastAndStable(t *testing.T) {
	seen := make(map[string]bool)
	for _, target := range []string{"node-1/a", "node-1/b", "node-2/a"} {
		mac := attachment.MAC(target)
		if len(mac) != 6 || mac[0]&1 != 0 || mac[0]&2 == 0 {
			t.Errorf("%s of %s", mac, target)
		}
		if attachment.MAC(target).String() != mac.String() || seen[mac.String()] {
			t.Errorf("%s of %s is not its own", mac, target)
		}
		seen[mac.String()] = true
	}
}
