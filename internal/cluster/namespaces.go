// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
)

// Namespaces makes named network namespaces and remembers them for the end.
type Namespaces struct {
	prefix string
	mu     sync.Mutex
	made   []string
}

// NewNamespaces returns a maker of namespaces whose names begin with prefix.
func NewNamespaces(prefix string) *Namespaces { return &Namespaces{prefix: prefix} }

// Add makes a namespace with lo up and returns its path.
func (n *Namespaces) Add(name string) (string, error) {
	path, err := netns.Create(n.prefix + name)
	if err != nil {
		return "", err
	}
	n.mu.Lock()
	n.made = append(n.made, n.prefix+name)
	n.mu.Unlock()
	return path, nl.Do(path, func(h *nl.Handle) error { return setUp(h, "lo") })
}

// Path returns the path of a namespace made by Add.
func (n *Namespaces) Path(name string) string { return netns.Path(n.prefix + name) }

// Remove takes the name away; the namespace ends with what runs in it.
func (n *Namespaces) Remove(name string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	at := slices.Index(n.made, n.prefix+name)
	if at < 0 {
		return nil
	}
	n.made = slices.Delete(n.made, at, at+1)
	return netns.Delete(n.prefix + name)
}

// Close removes what is left.
func (n *Namespaces) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	for _, name := range n.made {
		errs = append(errs, netns.Delete(name))
	}
	n.made = nil
	return errors.Join(errs...)
}

// withoutDAD makes link-local addresses of a namespace's interfaces to come
// usable at once. A machine boots long before traffic reaches it; these have no
// second to spare.
func withoutDAD(path string) error {
	return netns.Do(path, func() error { return sysctl("net.ipv6.conf.default.accept_dad", "0") })
}

// sysctl sets a variable of the calling thread's namespace.
func sysctl(key, value string) error {
	return os.WriteFile("/proc/sys/"+strings.ReplaceAll(key, ".", "/"), []byte(value), 0)
}

func setUp(h *nl.Handle, name string) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	return h.SetUp(link.Index)
}

func setDown(h *nl.Handle, name string) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("take down: %w", err)
	}
	return h.SetDown(link.Index)
}
