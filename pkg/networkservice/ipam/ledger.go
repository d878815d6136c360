// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const ledgerVersion = 1

// Ledger is the file that tells the next run who holds which address.
//
// It is written before an address is granted, and tells how long leases are, not
// when they end: a refresh is no news, and a restarted endpoint counts them from
// its start. What has been given back may stand in it until the next write, which
// only keeps it from others for longer.
//
// Each write is of a whole new file, on the disk before it takes the old one's
// place: what leases promise other machines must outlive this one's power. When
// it cannot be written nobody gets an address that he did not have, and whoever
// has one keeps it.
type Ledger struct{ path string }

type content struct {
	Version int
	// Sealed: what earlier runs have given is not known.
	Sealed bool     `json:",omitempty"`
	Holds  []record `json:",omitempty"`
}

type record struct {
	Address     netip.Addr
	Owner, User string
	Seconds     int64
}

// OpenLedger returns the ledger of an endpoint in a directory, which is made if
// missing.
func OpenLedger(dir, endpoint string) (*Ledger, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	return &Ledger{path: filepath.Join(dir, "leases-"+url.PathEscape(endpoint)+".json")}, nil
}

func (l *Ledger) read() (content, error) {
	data, err := os.ReadFile(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return content{}, nil
	}
	if err != nil {
		return content{}, err
	}
	var c content
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&c); err != nil {
		return content{}, err
	}
	if decoder.More() {
		return content{}, errors.New("data after the end")
	}
	if c.Version != ledgerVersion {
		return content{}, fmt.Errorf("version %d is not known, only %d", c.Version, ledgerVersion)
	}
	owners := map[netip.Addr]string{}
	for _, r := range c.Holds {
		if owner, ok := owners[r.Address]; !r.Address.IsValid() || r.Owner == "" || r.User == "" || r.Seconds < 0 || ok && owner != r.Owner {
			return content{}, fmt.Errorf("the record of %s, owner %q, is not valid", r.Address, r.Owner)
		}
		owners[r.Address] = r.Owner
	}
	return c, nil
}

// keepCopy keeps a file that could not be read for whoever looks into it.
func (l *Ledger) keepCopy() {
	_ = os.Remove(l.path + ".unreadable")
	_ = os.Link(l.path, l.path+".unreadable")
}

func (l *Ledger) write(c content) error {
	data, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode leases: %w", err)
	}
	if err := l.replace(data); err != nil {
		_ = os.Remove(l.path + ".new")
		return fmt.Errorf("store leases: %w", err)
	}
	return nil
}

func (l *Ledger) replace(data []byte) error {
	file, err := os.OpenFile(l.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(append(data, '\n'))
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := os.Rename(l.path+".new", l.path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(l.path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Store returns when the ledger knows all claims that have been made so far;
// many at once share a write. Without a ledger there is nothing to do.
func (p *Pool) Store() error {
	p.mu.Lock()
	wanted, ledger := p.changed, p.ledger
	p.mu.Unlock()
	if ledger == nil {
		return nil
	}
	p.writing.Lock()
	defer p.writing.Unlock()
	p.mu.Lock()
	if p.written >= wanted {
		p.mu.Unlock()
		return nil
	}
	version, c := p.changed, p.content(time.Now())
	p.mu.Unlock()
	if err := ledger.write(c); err != nil {
		return err
	}
	p.mu.Lock()
	p.written = version
	p.mu.Unlock()
	return nil
}

// content is what the next run must know. Called with the lock held.
func (p *Pool) content(now time.Time) content {
	c := content{Version: ledgerVersion, Sealed: now.Before(p.sealed)}
	for addr, l := range p.places {
		for user, h := range l.holds {
			if h.holds(now) || h.leg {
				c.Holds = append(c.Holds, record{addr, l.owner, user, int64(h.lease / time.Second)})
			}
		}
	}
	slices.SortFunc(c.Holds, func(a, b record) int { return a.Address.Compare(b.Address) })
	return c
}
