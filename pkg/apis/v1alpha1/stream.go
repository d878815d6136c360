// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// DefaultMaxTargets is the StreamSpec.MaxTargets of a stream that names none.
const DefaultMaxTargets = 100

// MaxTableSize is the largest StreamSpec.TableSize, the largest prime number
// that the data plane takes.
const MaxTableSize = 16777213

// Stream is a logical group of traffic inside a conduit. Targets join streams;
// the traffic of a stream is balanced over its targets.
type Stream struct {
	TypeMeta
	Metadata ObjectMeta `json:"metadata"`
	Spec     StreamSpec `json:"spec"`
	Status   Status     `json:"status,omitzero"`
}

// StreamSpec is the wanted state of a Stream.
type StreamSpec struct {
	// Conduit is the name of the Conduit that carries the stream.
	Conduit string `json:"conduit,omitempty"`
	// MaxTargets is how many targets may join, 1 to 10000; default 100.
	MaxTargets *uint32 `json:"max-targets,omitempty"`
	// TableSize is how many slots the stream's Maglev table has: a prime number,
	// at least MaxTargets and at most 16777213. The more slots there are for a
	// target, the fewer flows move when targets come and go, and the finer are
	// the shares. Default: what the load balancer is configured with, 65537 if
	// nothing. One that has less room does not carry out its conduit's resources
	// until it is gone (condition Programmed).
	TableSize *uint32 `json:"table-size,omitempty"`
}

// GetType implements Object.
func (o *Stream) GetType() *TypeMeta { return &o.TypeMeta }

// GetMeta implements Object.
func (o *Stream) GetMeta() *ObjectMeta { return &o.Metadata }

// GetStatus implements Object.
func (o *Stream) GetStatus() *Status { return &o.Status }
