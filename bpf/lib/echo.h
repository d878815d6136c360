/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Answers to pings, made of the question: fragment by fragment, too. */
#ifndef WEFT_ECHO_H
#define WEFT_ECHO_H

#include "packet.h"
#include "sum.h"

#define ECHO_TTL 64

/* echo_answer turns an echo request, or a later fragment of one, round. The sum
 * over addresses does not change when they change places. */
static __always_inline int echo_answer(FRAME *f, const struct pkt *p,
				       const __u8 *mac)
{
	/* Request 8 -> reply 0, and in ICMPv6 128 -> 129. */
	__u16 from = p->kind == PKT_IPV4 ? 8 : 128;
	__u16 to = p->kind == PKT_IPV4 ? 0 : 129;
	__u32 at = p->l3 & 31;
	__u16 head[2]; /* type and code, checksum */

	if (!(p->flags & PKT_LATER)) {
		if (frame_load(f, p->l4, head, sizeof(head)))
			return LB_DROP_INTERNAL;
		head[0] = to; /* the code is 0 */
		head[1] = sum_change(head[1], from, to);
		if (frame_store(f, p->l4, head, sizeof(head)))
			return LB_DROP_INTERNAL;
	}

	void *data = frame_data(f), *end = frame_end(f);
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > end)
		return LB_DROP_INTERNAL;
	__builtin_memcpy(eth->h_dest, eth->h_source, 6);
	__builtin_memcpy(eth->h_source, mac, 6);
	if (p->kind == PKT_IPV4) {
		struct iphdr *ip = data + at;
		__u16 before, after;

		if ((void *)(ip + 1) > end)
			return LB_DROP_INTERNAL;
		before = load16(&ip->ttl);
		ip->ttl = ECHO_TTL;
		after = load16(&ip->ttl);
		ip->check = sum_change(ip->check, before, after);
		ip->saddr = p->dst[1] >> 32;
		ip->daddr = p->src[1] >> 32;
	} else {
		struct ipv6hdr *ip = data + at;

		if ((void *)(ip + 1) > end)
			return LB_DROP_INTERNAL;
		ip->hop_limit = ECHO_TTL;
		copy16((__u64 *)&ip->saddr, p->dst);
		copy16((__u64 *)&ip->daddr, p->src);
	}
	return LB_ECHO_ANSWERED;
}

#endif
