// SPDX-License-Identifier: Apache-2.0

// Package wireguard is a node's encrypted underlay: a VXLAN device whose packets
// reach other nodes by WireGuard and in no other way.
//
// # Namespaces
//
// The interface of the VXLAN device is in the node's namespace, where packets
// are cross-connected; its UDP socket is in a private namespace that has nothing
// but WireGuard interfaces. Their UDP sockets are in the node's namespace again.
// So a VXLAN packet that comes unencrypted to the node cannot reach the device,
// and none of the device's can leave unencrypted.
//
// # Generations
//
// A generation is one WireGuard interface with a key and a port of its own. Its
// address in the private namespace is a hash of its public key, and a peer is
// allowed exactly that address, so who has a packet's source address has the
// key. Rotation makes the next generation, which knows all peers at once; the
// connections (ids) move with their next Join, on both nodes, and the old
// generation ends when none is left. At most two generations live at a time, on
// the ports Config.Port and the one after.
//
// No packet is lost meanwhile, because a node
//   - accepts from all keys that the other one may still use (Path.Former tells
//     the cross-connect), from before it answers until the Join after the next;
//   - sends by a new pair of keys only when the kernel or process has completed
//     a handshake with it. The node that answers cannot have one with a key that
//     it is about to tell: it stays with the former until the following Join.
//
// # Who runs it, and restarts
//
// The kernel, or a process of its own (MaybeServe) where the kernel has no
// WireGuard. Both survive the program that uses this package, and the next Open
// adopts them with keys, peers and sessions. Nothing is on disk: what is known of
// a generation is in the interface's alias and in WireGuard itself. Peers that no
// Join has claimed again by the end of Config.Grace are removed.
//
// When the process dies while a Manager is there, it is started again with the
// same key, port and peers; packets are lost until the handshakes are done again
// (some 100 ms). When it dies while none is there, or in the kernel the private
// namespace is deleted, keys are lost: the next Open makes a new generation, and
// each connection works again after its next Join on both nodes. A service
// manager that kills all processes of a unit (systemd's KillMode=control-group)
// or of a container ends the process, too.
package wireguard
