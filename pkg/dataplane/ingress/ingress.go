// SPDX-License-Identifier: Apache-2.0

package ingress

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"slices"
	"sync"

	"github.com/cilium/ebpf"

	"github.com/weft-project/weft/internal/nl"
)

var errClosed = errors.New("ingress block is closed")

// Block is a filter block with one program. Its methods may be called
// concurrently.
type Block struct {
	id uint32

	mu      sync.Mutex // guards what follows, and the order of changes
	netlink *nl.Handle // nil when closed
	program *ebpf.Program
	members map[int]struct{} // interfaces that have joined; may be gone
	behind  bool             // another process's program on the block stays
}

const maxID = 1<<31 - 1

// ID returns the same id for the same name: a block outlives the process, and
// the next one finds it again.
func ID(name string) uint32 {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(name)) // never fails
	return hash.Sum32()&maxID | 1
}

// Open returns a block in the namespace at netNS (empty: the present one). Its
// id makes it that of an earlier process, 0 is a random one. The program has to
// live until it is replaced or the block is closed.
func Open(netNS string, id uint32, program *ebpf.Program) (*Block, error) {
	if id == 0 {
		id = rand.Uint32N(maxID) + 1
	}
	netlink, err := nl.Open(netNS)
	if err != nil {
		return nil, fmt.Errorf("open ingress block: %w", err)
	}
	return &Block{id: id, netlink: netlink, program: program, members: map[int]struct{}{}}, nil
}

// OpenBehind is Open for a block that an earlier process has left: its program
// stays until TakeOver. Interfaces join meanwhile as ever; only a block that has
// no program gets the present one.
func OpenBehind(netNS string, id uint32, program *ebpf.Program) (*Block, error) {
	b, err := Open(netNS, id, program)
	if err == nil {
		b.behind = true
	}
	return b, err
}

// TakeOver gives the program to all interfaces that have joined the block, in
// whatever process, at once; they are this block's from now on. After an error
// it may be called again.
func (b *Block) TakeOver() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.netlink == nil {
		return errClosed
	}
	joined, err := members(b.netlink, b.id)
	if err != nil {
		return err
	}
	for _, ifindex := range joined {
		b.members[ifindex] = struct{}{}
	}
	b.behind = false
	return b.write(b.program)
}

// Members returns the interfaces of a namespace that have joined the block, in
// whatever process.
func Members(netNS string, id uint32) (joined []int, err error) {
	netlink, err := nl.Open(netNS)
	if err != nil {
		return nil, fmt.Errorf("list members of ingress block: %w", err)
	}
	defer func() { err = errors.Join(err, netlink.Close()) }()
	return members(netlink, id)
}

func members(netlink *nl.Handle, id uint32) ([]int, error) {
	blocks, err := netlink.IngressBlocks()
	if err != nil {
		return nil, err
	}
	var joined []int
	for ifindex, block := range blocks {
		if block == id {
			joined = append(joined, ifindex)
		}
	}
	slices.Sort(joined)
	return joined, nil
}

// Program returns the program that the interfaces of a block have, in whatever
// process; nil when there is none.
func Program(netNS string, id uint32) (_ *ebpf.Program, err error) {
	netlink, err := nl.Open(netNS)
	if err != nil {
		return nil, fmt.Errorf("find program of ingress block: %w", err)
	}
	defer func() { err = errors.Join(err, netlink.Close()) }()
	number, err := netlink.BlockProgram(id)
	if err != nil || number == 0 {
		return nil, err
	}
	program, err := ebpf.NewProgramFromID(ebpf.ProgramID(number))
	if errors.Is(err, os.ErrNotExist) { // the last interface has gone meanwhile
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open program of ingress block: %w", err)
	}
	return program, nil
}

// Dissolve takes all interfaces of a namespace out of a block that an earlier
// process has left.
func Dissolve(netNS string, id uint32) error {
	joined, err := Members(netNS, id)
	if err != nil {
		return err
	}
	b, err := Open(netNS, id, nil)
	if err != nil {
		return err
	}
	for _, ifindex := range joined {
		b.members[ifindex] = struct{}{}
	}
	return b.Close(false)
}

// Adopt takes over those of the interfaces that have joined the block in an
// earlier process, and gives them the program.
func (b *Block) Adopt(interfaces []int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ifindex := range interfaces {
		joined, err := b.joined(ifindex)
		if err != nil {
			return err
		}
		if joined {
			b.members[ifindex] = struct{}{}
		}
	}
	return b.write(b.program)
}

// Join puts the program on an interface; one that has joined before is no
// error. An interface that is gone is nl.ErrNotFound, one whose ingress has
// another hook of tc nl.ErrExists.
func (b *Block) Join(ifindex int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.netlink == nil {
		return errClosed
	}
	err := b.netlink.JoinIngressBlock(ifindex, b.id)
	if errors.Is(err, nl.ErrExists) {
		if joined, lookup := b.joined(ifindex); lookup == nil && joined {
			err = nil
		}
	}
	if err != nil {
		return err
	}
	b.members[ifindex] = struct{}{}
	// The kernel forgets the block with its last interface, and the program
	// with it. Whether it has done so since, only it knows.
	return b.write(b.program)
}

// Leave takes the program off an interface. One that has not joined, or is
// gone, is no error.
func (b *Block) Leave(ifindex int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.netlink == nil {
		return nil
	}
	return b.leave(ifindex)
}

func (b *Block) leave(ifindex int) error {
	if _, joined := b.members[ifindex]; !joined {
		return nil
	}
	delete(b.members, ifindex)
	if err := b.netlink.LeaveIngressBlock(ifindex); !errors.Is(err, nl.ErrNotFound) {
		return err
	}
	return nil
}

// Replace gives all interfaces another program at once. After an error they
// have the one of before.
func (b *Block) Replace(program *ebpf.Program) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.netlink == nil {
		return errClosed
	}
	if err := b.write(program); err != nil {
		return err
	}
	b.program = program
	return nil
}

// Close ends the use of the block. With keep, its interfaces keep the program;
// without, they lose it. Only the first Close does anything.
func (b *Block) Close(keep bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.netlink == nil {
		return nil
	}
	var errs []error
	if !keep {
		for ifindex := range b.members {
			errs = append(errs, b.leave(ifindex))
		}
	}
	errs = append(errs, b.netlink.Close())
	b.netlink, b.program = nil, nil
	return errors.Join(errs...)
}

// write gives the block its program. A block without interfaces has none.
func (b *Block) write(program *ebpf.Program) error {
	if len(b.members) == 0 {
		return nil
	}
	info, err := program.Info()
	if err != nil {
		return fmt.Errorf("describe ingress program: %w", err)
	}
	if b.behind {
		err = b.netlink.AddBlockProgram(b.id, info.Name, program.FD())
		if errors.Is(err, nl.ErrExists) {
			return nil
		}
	} else {
		err = b.netlink.SetBlockProgram(b.id, info.Name, program.FD())
	}
	if err == nil {
		return nil
	}
	// It may have failed because all members are gone, and the block with them.
	for ifindex := range b.members {
		if joined, lookup := b.joined(ifindex); joined || lookup != nil {
			return errors.Join(err, lookup)
		}
	}
	return nil
}

// Joined tells whether an interface has the program; one that is gone has not.
func (b *Block) Joined(ifindex int) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.netlink == nil {
		return false, errClosed
	}
	return b.joined(ifindex)
}

func (b *Block) joined(ifindex int) (bool, error) {
	id, err := b.netlink.IngressBlock(ifindex)
	if err != nil && !errors.Is(err, nl.ErrNotFound) {
		return false, err
	}
	return err == nil && id == b.id, nil
}
