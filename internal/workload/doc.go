// SPDX-License-Identifier: Apache-2.0

// Package workload knows the network namespaces of workloads: which one the
// caller on a unix socket lives in, whether one is still alive, and by which
// path it can be reached now.
//
// A namespace counts as alive while a process runs in it or a name is mounted
// on it. Nothing here keeps a namespace descriptor, because that would keep a
// dead namespace and its interfaces alive: processes are held by pidfds and
// names are watched by inotify.
//
// The namespace of a process is that of its main thread.
package workload
