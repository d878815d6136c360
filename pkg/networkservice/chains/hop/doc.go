// SPDX-License-Identifier: Apache-2.0

// Package hop is the client half of those that pass connections on (nsmgr,
// forwarder): the SDK's chains/client without refresh and heal, which are the
// first client's business, and with gRPC connections shared by all NSM
// connections.
package hop
