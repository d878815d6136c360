// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"

	"github.com/weft-project/weft/internal/attachment"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/workload"
)

// node is the reconciler's view of the namespaces on this machine and of what
// is in them.
type node struct{ watcher *workload.Watcher }

// Watch implements attachment.Namespaces.
func (n *node) Watch(id netns.ID, hint string) error { return n.watcher.Watch(id, hint) }

// Unwatch implements attachment.Namespaces.
func (n *node) Unwatch(id netns.ID) { n.watcher.Unwatch(id) }

// Path implements attachment.Namespaces.
func (n *node) Path(id netns.ID) string { return n.watcher.Path(id).Target }

// Inspect implements attachment.Interfaces.
func (n *node) Inspect(path, name string) (attachment.Actual, error) {
	iface, err := n.Interface(path, name)
	if err != nil {
		return attachment.Actual{}, err
	}
	handle, err := nl.Open(path)
	if err != nil {
		return attachment.Actual{}, fmt.Errorf("look at interface %s: %w", name, err)
	}
	defer func() { _ = handle.Close() }()
	actual := attachment.Actual{Interface: iface}
	if actual.Addresses, err = handle.Addresses(iface.Index); err != nil {
		return attachment.Actual{}, err
	}
	rules, err := handle.Rules()
	if err != nil {
		return attachment.Actual{}, err
	}
	for _, rule := range rules {
		if rule.From.IsValid() {
			actual.Rules = append(actual.Rules, rule.From.Masked())
		}
	}
	return actual, nil
}

// Interface implements attachment.Interfaces.
func (n *node) Interface(path, name string) (attachment.Interface, error) {
	if path == "" { // to netlink, our own namespace
		return attachment.Interface{}, &attachment.Error{Kind: attachment.NotFound, Field: "netns", Message: workload.ErrGone.Error()}
	}
	handle, err := nl.Open(path)
	if err != nil {
		return attachment.Interface{}, fmt.Errorf("look for interface %s: %w", name, err)
	}
	defer func() { _ = handle.Close() }()
	link, err := handle.LinkByName(name)
	if errors.Is(err, nl.ErrNotFound) {
		return attachment.Interface{}, &attachment.Error{Kind: attachment.NotFound, Field: "interface", Message: err.Error()}
	}
	if err != nil {
		return attachment.Interface{}, err
	}
	return attachment.Interface{Name: link.Name, Index: link.Index, MAC: link.MAC, MTU: link.MTU}, nil
}
