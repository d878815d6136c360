// SPDX-License-Identifier: Apache-2.0

// Package netns runs code inside network namespaces and makes, finds and
// removes the named ones under /run/netns, compatible with iproute2.
//
// A namespace is named by the path of its file: /run/netns/<name>,
// /proc/<pid>/ns/net, ... The empty path is the namespace of the calling
// thread. No function keeps a descriptor after it has returned, because an
// open descriptor keeps a dead namespace and its interfaces alive.
package netns
