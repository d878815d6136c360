// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/weft-project/weft/internal/cluster"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/wireguard"
	"github.com/weft-project/weft/pkg/dataplane/inventory"
)

// encrypted is the node's device to the encrypted underlay.
const encrypted = "weft-vxwg"

// sent returns how many packets a node's device has sent.
func sent(n *cluster.Node, device string) (packets uint64, err error) {
	var data []byte
	if err = n.Inside(func() (err error) {
		data, err = os.ReadFile("/proc/thread-self/net/dev")
		return err
	}); err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		name, counters, _ := strings.Cut(strings.TrimSpace(line), ":")
		if fields := strings.Fields(counters); name == device && len(fields) > 9 {
			_, err = fmt.Sscan(fields[9], &packets) // transmitted, after eight of reception
			return packets, err
		}
	}
	return 0, fmt.Errorf("%s has no %s", n.Name, device)
}

// emptyNode checks that the components have left nothing on a node, before the
// node itself goes.
func (m *manyNodes) emptyNode(n *cluster.Node) error {
	links, err := interfaces(n.NetNS)
	if err != nil {
		return err
	}
	links = slices.DeleteFunc(links, func(name string) bool { return name == cluster.Underlay })
	pins, err := inventory.Pins(n.BPF)
	if err != nil {
		return err
	}
	pins = slices.DeleteFunc(pins, func(path string) bool { return strings.HasSuffix(path, ".debug") }) // the kernel's own
	inode, err := netns.Inode(n.NetNS)
	if err != nil {
		return err
	}
	processes := 0
	for path := range netns.Find(inode) {
		if strings.HasPrefix(path, "/proc/") {
			processes++
		}
	}
	var namespaces []string
	if _, err := netns.Inode(wireguard.PrivateNetNS(n.WireGuardDir())); err == nil {
		namespaces = append(namespaces, "WireGuard's")
	}
	m.check(len(links)+len(pins)+len(namespaces)+processes == 0, "%s: tunnels and other interfaces of ours %d, pins %d, namespaces %d, processes %d%s",
		n.Name, len(links), len(pins), len(namespaces), processes, prefixed(": ", strings.Join(slices.Concat(links, pins, namespaces), ", ")))
	return nil
}
