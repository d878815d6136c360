/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Where replies leave to: a route of the kernel's table, or a live gateway. */
#ifndef WEFT_GATEWAY_H
#define WEFT_GATEWAY_H

#include "hash.h"
#include "lb_maps.h"

#define AF_INET_  2
#define AF_INET6_ 10

/* Lookups come in by the loopback interface, which every namespace has as its
 * first: the only one whose forwarding has to be on, and nothing to forward
 * ever comes in there. */
#define LOOPBACK 1

/* route looks in the kernel's table. LB_NONE: it says nothing about the
 * destination. What depends on ports would tear the fragments of a packet apart,
 * so those have none. */
static __noinline int route(struct __sk_buff *skb, const struct pkt *p,
			    __u32 table, struct bpf_redir_neigh *hop)
{
	struct bpf_fib_lookup f = { .ifindex = LOOPBACK, .tbid = table };

	if (!p || !hop)
		return LB_DROP_INTERNAL;
	if (p->kind == PKT_IPV4) {
		f.family = AF_INET_;
		f.ipv4_src = p->src[1] >> 32;
		f.ipv4_dst = p->dst[1] >> 32;
	} else {
		f.family = AF_INET6_;
		*(__u64 *)&f.ipv6_src[0] = p->src[0];
		*(__u64 *)&f.ipv6_src[2] = p->src[1];
		*(__u64 *)&f.ipv6_dst[0] = p->dst[0];
		*(__u64 *)&f.ipv6_dst[2] = p->dst[1];
	}
	if (!p->why && !(p->flags & PKT_RARE)) {
		f.l4_protocol = p->ip_proto;
		f.sport = p->sport;
		f.dport = p->dport;
	}
	switch (bpf_fib_lookup(skb, &f, sizeof(f),
			       BPF_FIB_LOOKUP_DIRECT | BPF_FIB_LOOKUP_TBID |
				       BPF_FIB_LOOKUP_SKIP_NEIGH)) {
	case BPF_FIB_LKUP_RET_SUCCESS:
	case BPF_FIB_LKUP_RET_FRAG_NEEDED: /* not the question here */
		break;
	case BPF_FIB_LKUP_RET_NOT_FWDED:
		return LB_NONE;
	case BPF_FIB_LKUP_RET_BLACKHOLE:
	case BPF_FIB_LKUP_RET_UNREACHABLE:
	case BPF_FIB_LKUP_RET_PROHIBIT:
	case BPF_FIB_LKUP_RET_UNSUPP_LWT:
		return LB_DROP_NO_ROUTE;
	default:
		return LB_DROP_INTERNAL;
	}
	if (f.ifindex != cfg_ifindex)
		return LB_DROP_NO_ROUTE; /* into another network */
	hop->nh_family = f.family;
	if (f.family == AF_INET_) {
		hop->ipv4_nh = f.ipv4_dst;
	} else {
		*(__u64 *)&hop->ipv6_nh[0] = *(__u64 *)&f.ipv6_dst[0];
		*(__u64 *)&hop->ipv6_nh[2] = *(__u64 *)&f.ipv6_dst[2];
	}
	return LB_REPLY_FORWARDED;
}

/* gateway chooses where a reply goes by flow; the fragments of a packet take the
 * same way. */
static __always_inline int gateway(struct __sk_buff *skb, const struct pkt *p,
				   struct bpf_redir_neigh *hop)
{
	__u32 zero = 0, v6 = p->kind != PKT_IPV4;
	const struct lb_gateway *all = bpf_map_lookup_elem(&lb_gateways, &zero);
	struct pkt flow = *p;

	if (!all)
		return LB_DROP_INTERNAL;
	const struct lb_routing *r =
		&all->half[*(const volatile __u32 *)&all->active & 1];

	if (r->table) {
		int why = route(skb, p, r->table, hop);

		if (why)
			return why;
	}
	if (!r->n[v6])
		return LB_DROP_NO_GATEWAY;
	if (p->why || p->flags & PKT_RARE)
		flow.sport = flow.dport = flow.proto = 0;

	const struct lb_ways *ways = &r->ways[v6];
	__u32 at = ways->slots[flow_hash(&flow) >> LB_GATEWAY_SHIFT];
	const struct lb_hop *to = &ways->hops[at % LB_GATEWAYS];

	if (!to->hi && (__u32)to->lo == V4_MAPPED) {
		hop->nh_family = AF_INET_;
		hop->ipv4_nh = to->lo >> 32;
	} else {
		hop->nh_family = AF_INET6_;
		*(__u64 *)&hop->ipv6_nh[0] = to->hi;
		*(__u64 *)&hop->ipv6_nh[2] = to->lo;
	}
	return LB_REPLY_FORWARDED;
}

#endif
