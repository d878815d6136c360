// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/weft-project/weft/internal/classify"
)

// SetRules replaces all rules. They are compiled aside and published by one
// write of a map pointer, so that every packet meets the old or the new ones.
// On error the old ones stay.
func (l *LB) SetRules(rules Rules) error {
	l.rules.Lock()
	defer l.rules.Unlock()
	if l.objs == nil {
		return errClosed
	}
	for _, f := range rules.Flows {
		if f.Stream >= uint32(l.cfg.MaxStreams) {
			return fmt.Errorf("rule %q: stream %d: at most %d streams", f.Name, f.Stream, l.cfg.MaxStreams)
		}
	}
	dev, err := l.device()
	if err != nil {
		return err
	}
	blob, err := classify.Compile(classify.Set{
		VIPs:     rules.VIPs,
		Rules:    rules.Flows,
		Gateways: rules.Gateways,
		MAC:      dev.HardwareAddr,
	})
	if err != nil {
		return fmt.Errorf("compile rules: %w", err)
	}
	size, err := blobSize(len(blob))
	if err != nil {
		return err
	}
	if size <= l.size {
		return publish(l.objs, l.size, blob)
	}
	return l.grow(size, blob)
}

// publish writes the blob to a new inner map and swaps it in.
func publish(objs *bpfObjects, size uint32, blob []byte) error {
	inner, err := ebpf.NewMap(&ebpf.MapSpec{
		Name:       "lb_blob",
		Type:       ebpf.Array,
		KeySize:    4,
		ValueSize:  size + blobSlack,
		MaxEntries: 1,
		Flags:      rdonlyProg,
	})
	if err != nil {
		return fmt.Errorf("create rule map: %w", err)
	}
	defer func() { _ = inner.Close() }() // the outer map holds it
	value := make([]byte, size+blobSlack)
	copy(value, blob)
	if err := inner.Put(uint32(0), value); err != nil {
		return fmt.Errorf("write rules: %w", err)
	}
	if err := objs.LbRules.Put(uint32(0), inner); err != nil {
		return fmt.Errorf("publish rules: %w", err)
	}
	return nil
}

// grow loads programs for a larger blob and replaces the old ones in place:
// each link, and the block of the legs, changes its program at once, no packet
// passes by.
func (l *LB) grow(size uint32, blob []byte) error {
	objs, err := load(l.cfg, l.ifindex, size, l.objs)
	if err != nil {
		return err
	}
	if err := publish(objs, size, blob); err != nil {
		return errors.Join(err, objs.Close())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.objs
	if err := l.replace(objs); err != nil {
		return errors.Join(err, l.replace(old), objs.Close())
	}
	l.objs, l.size = objs, size
	return old.Close()
}

// replace points all links and the block to the programs of objs.
func (l *LB) replace(objs *bpfObjects) error {
	for i, lk := range l.links {
		prog := objs.Lb
		if i > 0 {
			prog = objs.LbEgress
		}
		if err := update(lk, prog); err != nil {
			return fmt.Errorf("replace program on %s: %w", l.cfg.Interface, err)
		}
	}
	if err := l.block.Replace(objs.LbReply); err != nil {
		return fmt.Errorf("replace program on legs: %w", err)
	}
	return nil
}

// update replaces the program of a link; one whose interface is gone has none.
func update(lk link.Link, prog *ebpf.Program) error {
	err := lk.Update(prog)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, noLink) {
		return nil
	}
	return err
}
