// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"errors"
	"fmt"
	"math"
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
	return l.setRules(rules)
}

// setRules is SetRules; the caller holds rules.
func (l *LB) setRules(rules Rules) error {
	if err := l.checkRules(rules); err != nil {
		return err
	}
	dev, err := l.device()
	if err != nil {
		return err
	}
	set := classify.Set{
		VIPs:     rules.VIPs,
		Rules:    rules.Flows,
		NATs:     rules.NATs,
		MAC:      dev.HardwareAddr,
		MSSClamp: rules.MSSClamp,
	}
	if dev.MTU <= math.MaxUint16 {
		set.MTU = uint16(dev.MTU)
	}
	blob, err := classify.Compile(set)
	if err != nil {
		return fmt.Errorf("compile rules: %w", err)
	}
	size, err := blobSize(len(blob))
	if err != nil {
		return err
	}
	want := shape{max(size, l.objs.blob), uint32(rules.Affinity)}
	if l.objs.covers(want) {
		err = publish(l.objs, blob)
	} else {
		err = l.reload(want, blob)
	}
	if err != nil {
		return err
	}
	l.inForce, l.written = rules, *dev
	l.dev.Store(dev)
	return nil
}

// maxAffinity bounds the memory: some 100 bytes for each flow.
const maxAffinity = 1 << 24

func (l *LB) checkRules(rules Rules) error {
	for _, f := range rules.Flows {
		if f.Stream >= uint32(l.cfg.MaxStreams) {
			return fmt.Errorf("rule %q: stream %d: at most %d streams", f.Name, f.Stream, l.cfg.MaxStreams)
		}
		if f.Flow >= uint32(l.cfg.MaxFlows) {
			return fmt.Errorf("rule %q: flow %d: at most %d flows", f.Name, f.Flow, l.cfg.MaxFlows)
		}
	}
	if rules.Affinity < 0 || rules.Affinity > maxAffinity {
		return fmt.Errorf("affinity of %d flows: not in 0 to %d", rules.Affinity, maxAffinity)
	}
	return nil
}

// publish writes the blob to a new inner map and swaps it in.
func publish(objs *objects, blob []byte) error {
	inner, err := ebpf.NewMap(&ebpf.MapSpec{
		Name:       "lb_blob",
		Type:       ebpf.Array,
		KeySize:    4,
		ValueSize:  objs.blob + blobSlack,
		MaxEntries: 1,
		Flags:      rdonlyProg,
	})
	if err != nil {
		return fmt.Errorf("create rule map: %w", err)
	}
	defer func() { _ = inner.Close() }() // the outer map holds it
	value := make([]byte, objs.blob+blobSlack)
	copy(value, blob)
	if err := inner.Put(uint32(0), value); err != nil {
		return fmt.Errorf("write rules: %w", err)
	}
	if err := objs.LbRules.Put(uint32(0), inner); err != nil {
		return fmt.Errorf("publish rules: %w", err)
	}
	return nil
}

// reload loads programs of another shape and replaces the old ones in place: each
// link, and the block of the legs, changes its program at once, no packet passes
// by.
func (l *LB) reload(want shape, blob []byte) error {
	objs, err := load(l.cfg, l.id, want, l.objs)
	if err != nil {
		return err
	}
	if err := publish(objs, blob); err != nil {
		return errors.Join(err, objs.Close())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.objs
	if err := l.replace(objs); err != nil {
		return errors.Join(err, l.replace(old), objs.Close())
	}
	l.objs = objs
	return old.Close()
}

// replace points all links and the block to the programs of objs.
func (l *LB) replace(objs *objects) error {
	for _, lk := range l.links {
		if err := update(lk.link, lk.program(objs)); err != nil {
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
