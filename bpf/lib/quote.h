/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The packet that an ICMP error is about. */
#ifndef WEFT_QUOTE_H
#define WEFT_QUOTE_H

#include "packet.h"

#define QUOTE_MAX_EXT 4 /* extension headers walked */
#define QUOTE_L4      8 /* bytes of its transport header that must be there */

/* The quoted packet's addresses. */
struct quote {
	__u64 src[2];
	__u64 dst[2];
};

static __always_inline int quote_proto(struct pkt *p, __u8 proto)
{
	switch (proto) {
	case IPPROTO_TCP:
		p->proto = PKT_TCP;
		return 1;
	case IPPROTO_UDP:
		p->proto = PKT_UDP;
		return 1;
	case IPPROTO_SCTP_:
		p->proto = PKT_SCTP;
		return 1;
	}
	return 0;
}

/*
 * quote_parse reads the packet that an ICMP error quotes: its addresses into q,
 * where its ports are into p->quote, and the protocol and ports, turned round,
 * into p. It returns 0 if it can, and the ports of the quote are in its order
 * the wrong way round then: what the answer to it would have.
 */
__noinline int quote_parse(FRAME *f, struct pkt *p, struct quote *q)
{
	__u32 at, end, ports = 0;
	__u8 next;

	if (!p || !q)
		return 1;
	at = p->l4 + 8;
	end = p->l4 + p->l4_len;
	if (p->kind == PKT_IPV4) {
		struct iphdr ip;

		if (frame_load(f, at, &ip, sizeof(ip)) ||
		    ip.version != 4 || ip.ihl < 5 ||
		    ip.frag_off & bpf_htons(0x1fff))
			return 1;
		q->src[0] = q->dst[0] = 0;
		q->src[1] = mapped(ip.saddr);
		q->dst[1] = mapped(ip.daddr);
		next = ip.protocol;
		at += ip.ihl * 4;
	} else {
		struct ipv6hdr ip;

		if (frame_load(f, at, &ip, sizeof(ip)) || ip.version != 6)
			return 1;
		copy16(q->src, &ip.saddr);
		copy16(q->dst, &ip.daddr);
		next = ip.nexthdr;
		at += sizeof(ip);
	}
#pragma clang loop unroll(full)
	for (int i = 0; i < QUOTE_MAX_EXT; i++) {
		__u8 ext[8] = {};
		__u32 size = 8;

		if (!is_extension(next, p->kind == PKT_IPV4))
			break;
		if (frame_load(f, at, ext, sizeof(ext)))
			return 1;
		if (next == IPPROTO_AH)
			size = (ext[1] + 2) * 4;
		else if (next != IPPROTO_FRAGMENT)
			size += ext[1] * 8;
		else if (load16(ext + 2) & bpf_htons(0xfff8))
			return 1;
		next = ext[0];
		at += size;
	}
	if (!quote_proto(p, next) || at + QUOTE_L4 > end ||
	    frame_load(f, at, &ports, sizeof(ports)))
		return 1;
	p->quote = at;
	p->sport = ports >> 16;
	p->dport = ports;
	return 0;
}

#endif
