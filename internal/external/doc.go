// SPDX-License-Identifier: Apache-2.0

// Package external owns the external interface of a frontend: it brings it into the
// frontend's namespace in the way that its attractor says, gives it addresses of the
// attractor's prefixes, and tells whether it is there.
//
//   - host-device: an interface that is in the frontend's namespace is used where it
//     is; one of that name in the node's namespace is moved, and given back with the
//     addresses that it had.
//   - macvlan: made on an interface of the node.
//   - network-attachment: an interface that somebody else (Multus) puts into the
//     frontend's namespace; nothing on it is changed.
//   - nsm-vlan: requested over NSM, made by the node's forwarder (package trunk).
//
// What is missing is awaited, and what vanishes is made or awaited again. An
// interface that was neither made nor given is never touched: what was made or moved
// carries an alias, by which the next process knows it.
package external
