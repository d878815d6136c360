// SPDX-License-Identifier: Apache-2.0

package loadbalancer

// Option changes the element.
type Option func(*loadBalancerServer)

// WithMTU sets the MTU of the connections; a client that wants a smaller one
// gets that.
func WithMTU(mtu uint32) Option { return func(s *loadBalancerServer) { s.mtu = mtu } }
