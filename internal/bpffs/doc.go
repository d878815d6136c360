// SPDX-License-Identifier: Apache-2.0

// Package bpffs finds, and mounts, the BPF file systems that the data path is
// pinned in. A file system that is unmounted takes all its pins away; what they
// held lives on only where something else holds it.
package bpffs
