// SPDX-License-Identifier: Apache-2.0

// Package addresses gives the addresses of an attractor's prefixes to its
// frontends: each owner one of every prefix, with the prefix length of the network,
// and the same again as long as it holds them and, as far as others leave it free,
// after that. With a file, the next process knows who holds what.
package addresses
