/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Frames into and out of the node's VXLAN device. */
#ifndef WEFT_XC_TUNNEL_H
#define WEFT_XC_TUNNEL_H

#include "xc_maps.h"

#define TUNNEL_TTL 64

static __always_inline __u32 v4_of(const __u8 *mapped)
{
	return bpf_ntohl(*(const __u32 *)(mapped + 12));
}

static __always_inline int to_tunnel(struct __sk_buff *skb, enum reason reason, const struct leg *leg)
{
	struct bpf_tunnel_key key = {};
	__u64 flags;

	key.tunnel_id = leg->vni;
	key.tunnel_ttl = TUNNEL_TTL;
	if (leg->flags & LEG_IPV6) {
		/* Other implementations insist on a checksum (RFC 7348, 6935). */
		flags = BPF_F_TUNINFO_IPV6;
		__builtin_memcpy(key.remote_ipv6, leg->remote, 16);
		__builtin_memcpy(key.local_ipv6, leg->local, 16);
	} else {
		flags = BPF_F_ZERO_CSUM_TX;
		key.remote_ipv4 = v4_of(leg->remote);
		key.local_ipv4 = v4_of(leg->local);
	}
	if (bpf_skb_set_tunnel_key(skb, &key, sizeof(key), flags))
		return finish(skb, REASON_ENCAP);
	decided(skb, reason, leg->ifindex, leg->vni);
	return bpf_redirect(leg->ifindex, 0);
}

/* sender says which tunnel a frame came out of, and by which address of ours. */
static __always_inline int sender(struct __sk_buff *skb, struct tunnel_key *from, struct leg *back)
{
	struct bpf_tunnel_key key = {};

	if (!bpf_skb_get_tunnel_key(skb, &key, sizeof(key), 0)) {
		from->remote[10] = from->remote[11] = 0xff;
		back->local[10] = back->local[11] = 0xff;
		*(__u32 *)(from->remote + 12) = bpf_htonl(key.remote_ipv4);
		*(__u32 *)(back->local + 12) = bpf_htonl(key.local_ipv4);
	} else if (!bpf_skb_get_tunnel_key(skb, &key, sizeof(key), BPF_F_TUNINFO_IPV6)) {
		__builtin_memcpy(from->remote, key.remote_ipv6, 16);
		__builtin_memcpy(back->local, key.local_ipv6, 16);
		back->flags = LEG_IPV6;
	} else {
		return 0;
	}
	from->device = skb->ingress_ifindex;
	from->vni = key.tunnel_id;
	return 1;
}

static __always_inline int same_key(const struct tunnel_key *a, const struct tunnel_key *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	return READ_ONCE(x[0]) == y[0] && READ_ONCE(x[1]) == y[1] && READ_ONCE(x[2]) == y[2];
}

/* tunnel_port finds the port of a tunnel: 0 is none, -1 an entry that was
 * replaced meanwhile. */
static __always_inline long tunnel_port(const struct tunnel_key *from, __u32 *mark)
{
	const struct tunnel *t = bpf_map_lookup_elem(&xc_tunnels, from);
	__u32 generation, ifindex;

	if (!t)
		return 0;
	generation = READ_ONCE(t->generation);
	ifindex = READ_ONCE(t->ifindex);
	*mark = READ_ONCE(t->mark);
	if (!same_key(&t->key, from) || READ_ONCE(t->generation) != generation)
		return -1;
	return ifindex;
}

static __always_inline int from_tunnel(struct __sk_buff *skb, const struct tunnel_key *from)
{
	__u32 mark = 0;
	long port = tunnel_port(from, &mark);

	if (port < 0)
		port = tunnel_port(from, &mark);
	if (port < 0)
		return finish(skb, REASON_STALE);
	if (!port)
		return finish(skb, REASON_NO_TUNNEL);
	skb->mark = mark;
	return to_port(skb, REASON_FROM_TUNNEL, port);
}

#endif
