// SPDX-License-Identifier: Apache-2.0

// Package router runs real routers for tests: BIRD 2 and FRR in a network
// namespace, with their configuration, sockets and logs in a directory of their
// own, so that the services of the machine are not touched.
package router
