// SPDX-License-Identifier: Apache-2.0

// Package mesh runs NSM's own control plane inside a process: a network service
// manager and a registry in memory, on a unix socket. Everything of ours talks
// to it by the NSM APIs only, so that an upstream nsmgr and registry can take its
// place.
//
// It also holds what every component needs to take part in a mesh: credentials
// ([Security]), gRPC servers ([Serve]) and registry clients.
package mesh
