// SPDX-License-Identifier: Apache-2.0

// Package fd passes descriptors of network namespaces beside NSM requests, on
// unix sockets, compatible with the SDK's sendfd and recvfd on the wire.
//
// # Does
//
// [TransportCredentials] wraps the credentials of a gRPC client or server, so
// that the connection can carry descriptors. [NewClient] sends the namespace file
// of every mechanism: file:///path becomes inode://dev/ino plus a descriptor.
// [NewServer] takes the descriptors of inode:// URLs from the connection and keeps
// them until the Request returns, and no longer; [Path] finds them. What NewClient
// receives with an answer is kept there too. [NewAnswerServer] sends an endpoint's
// namespace with the answer.
//
// The SDK's own elements hold every received descriptor until the transport or
// the NSM connection closes. A held descriptor keeps a dead namespace alive, with
// all its interfaces, and nobody notices that the workload is gone. They also
// replace the URL by a path that names another file once the descriptor is
// closed. Here the URL stays, and a descriptor nobody asks for is closed after
// lingerTime.
//
// # Placement
//
// NewServer: after begin and metadata; before every element that opens a
// namespace. NewClient: last before connect; the connection must combine
// per-RPC credentials (grpcfd.WithChainUnaryInterceptor). NewAnswerServer: before
// the element that names the endpoint's namespace.
//
// # Reads
//
// The mechanism parameter inodeURL.
//
// # Writes
//
// The same parameter: NewClient in a copy of the request, NewAnswerServer in the
// answer.
//
// # On Close
//
// Nothing is sent or needed: the namespace may be gone.
//
// # Metrics
//
// None.
package fd
