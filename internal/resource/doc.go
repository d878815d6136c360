// SPDX-License-Identifier: Apache-2.0

// Package resource reads, checks and keeps Weft's resources on one host.
//
//   - Decode turns YAML files into typed objects. It is strict: unknown fields,
//     duplicate keys and wrong types are problems. Manifests of Meridio
//     (meridio.nordix.org/v1 and v1alpha1) are read as well and become objects
//     of weft.dev/v1alpha1.
//   - Check sets the defaults and validates every object by itself and the set
//     as a whole.
//   - Store holds the accepted set as one immutable Snapshot, on disk and in
//     memory. A change is accepted whole or not at all.
//
// Package compile, below this one, turns a Snapshot into the configuration of
// the load balancers.
//
// All problems are reported at once. Each names file and line, the object, the
// field and the reason.
package resource
