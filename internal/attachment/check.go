// SPDX-License-Identifier: Apache-2.0

package attachment

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weft-project/weft/internal/netns"
)

// checkFree reports an interface that the namespace has already.
func (m *Manager) checkFree(path, name string) error {
	_, err := m.Interfaces.Interface(path, name)
	switch {
	case err == nil:
		return errorf(Exists, "interface", "the namespace has an interface %q already", name)
	case KindOf(err) == NotFound:
		return nil
	default:
		return fmt.Errorf("look for interface %s: %w", name, err)
	}
}

// checkInterface reports another attachment with that interface.
func (m *Manager) checkInterface(id netns.ID, name string) error {
	for _, other := range m.entries {
		if other.spec.NetNS == id && other.spec.Interface == name {
			return errorf(Exists, "interface", "%q is that of attachment %q already", name, other.spec.Name)
		}
	}
	return nil
}

// checkAddresses reports addresses that the namespace's other attachments ask
// for.
func (m *Manager) checkAddresses(spec Spec) error {
	for _, other := range m.entries {
		if other.spec.NetNS != spec.NetNS {
			continue
		}
		for _, theirs := range other.spec.Addresses {
			for _, ours := range spec.Addresses {
				if ours.Overlaps(theirs) {
					return errorf(Exists, "addresses", "%s overlaps %s of attachment %q", ours, theirs, other.spec.Name)
				}
			}
		}
	}
	return nil
}

// defaultName is <interface>-<namespace>. Interface names may have characters
// that names of attachments may not.
func defaultName(spec Spec) string {
	iface := strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, strings.ToLower(spec.Interface)), "-")
	if iface == "" {
		iface = "if"
	}
	return fmt.Sprintf("%s-%d-%x", iface, spec.NetNS.Ino, spec.NetNS.Cookie)
}

// Scope limits whose attachments a caller can see.
type Scope struct {
	// NetNS, unless nil: only those of this namespace.
	NetNS *netns.ID
}

func (s Scope) allows(e *entry) bool { return s.NetNS == nil || e.spec.NetNS == *s.NetNS }

// Filter selects attachments; empty fields select all.
type Filter struct {
	Scope
	Name, NetworkService, Origin string
}

func (f Filter) selects(e *entry) bool {
	return f.allows(e) && (f.Name == "" || f.Name == e.spec.Name) &&
		(f.NetworkService == "" || f.NetworkService == e.spec.NetworkService) &&
		(f.Origin == "" || f.Origin == e.spec.Origin)
}

// find does not tell a caller whether other namespaces have such a name.
func (m *Manager) find(name string, scope Scope) (*entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[name]
	if !ok || !scope.allows(e) {
		return nil, errorf(NotFound, "name", "there is no attachment %q", name)
	}
	return e, nil
}

// List returns the selected attachments sorted by name.
func (m *Manager) List(filter Filter) []Attachment {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.list(filter)
}

func (m *Manager) list(filter Filter) []Attachment {
	var selected []Attachment
	for _, name := range slices.Sorted(maps.Keys(m.entries)) {
		if e := m.entries[name]; filter.selects(e) {
			selected = append(selected, m.attachment(e))
		}
	}
	return selected
}
