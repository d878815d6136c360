// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 holds Weft's resource types: Trench, Conduit, Stream, Flow,
// Vip, Attractor, Gateway and Attachment, group weft.dev, version v1alpha1.
//
// The field names follow Meridio's resources (group meridio.nordix.org), so
// that its manifests can be loaded as they are. The types are plain Go with
// json tags: internal/resource decodes and validates them on one host, and on
// Kubernetes they are the schema of the custom resources.
package v1alpha1
