// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// DefaultMaxTargets is the StreamSpec.MaxTargets of a stream that names none.
const DefaultMaxTargets = 100

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
}

// GetType implements Object.
func (o *Stream) GetType() *TypeMeta { return &o.TypeMeta }

// GetMeta implements Object.
func (o *Stream) GetMeta() *ObjectMeta { return &o.Metadata }

// GetStatus implements Object.
func (o *Stream) GetStatus() *Status { return &o.Status }
