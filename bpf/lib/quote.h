/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The packet that an ICMP error is about. */
#ifndef WEFT_QUOTE_H
#define WEFT_QUOTE_H

#include "packet.h"

#define QUOTE_MAX_EXT 4 /* extension headers walked */
#define QUOTE_L4      8 /* bytes of its transport header that must be there */

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

/* quoted_is compares an address of a quoted header, 0 the source and 1 the
 * destination; 0 if it is addr. */
static __always_inline int quoted_is(const __u8 *ip, __u8 kind, int which,
				     const __u64 *addr)
{
	if (kind == PKT_IPV4)
		return mapped(load32(ip + 12 + 4 * which)) != addr[1];
	return *(const __u64 *)(ip + 8 + 16 * which) != addr[0] ||
	       *(const __u64 *)(ip + 16 + 16 * which) != addr[1];
}

#define QUOTE_FORTH 0 /* an error from outside about a reply */
#define QUOTE_BACK  1 /* an error of a workload about what it was sent */

/*
 * quote_parse reads the packet that an ICMP error quotes, and makes p the answer to
 * that packet, or rather its flow: protocol and ports, turned round, and the
 * source. p->quote is where the quoted ports are. It returns 0 if that is possible
 * and the quoted packet is one of the VIP that the error was sent to, or of the
 * one that sends it.
 */
__noinline int quote_parse(FRAME *f, struct pkt *p, int direction)
{
	__u8 ip[40] __attribute__((aligned(8))), next;
	__u32 at, end, ports = 0;

	if (!p)
		return 1;
	at = p->l4 + 8;
	end = p->l4 + p->l4_len;
	if (p->kind == PKT_IPV4) {
		if (frame_load(f, at, ip, sizeof(struct iphdr)) ||
		    ip[0] >> 4 != 4 || (ip[0] & 15) < 5 ||
		    load16(ip + 6) & bpf_htons(0x1fff))
			return 1;
		next = ip[9];
		at += (ip[0] & 15) * 4;
	} else {
		if (frame_load(f, at, ip, sizeof(struct ipv6hdr)) ||
		    ip[0] >> 4 != 6)
			return 1;
		next = ip[6];
		at += sizeof(struct ipv6hdr);
	}
	if (direction == QUOTE_BACK ? quoted_is(ip, p->kind, 1, p->src) :
				      quoted_is(ip, p->kind, 0, p->dst))
		return 1;
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
		if (next == IPPROTO_ROUTING && ext[3])
			return 1; /* was not yet at its last destination */
		next = ext[0];
		at += size;
	}
	if (!quote_proto(p, next) || at + QUOTE_L4 > end ||
	    frame_load(f, at, &ports, sizeof(ports)))
		return 1;
	if (direction == QUOTE_FORTH && p->kind == PKT_IPV4)
		p->src[1] = mapped(load32(ip + 16));
	else if (direction == QUOTE_FORTH)
		copy16(p->src, ip + 24);
	p->quote = at;
	p->sport = ports >> 16;
	p->dport = ports;
	return 0;
}

#endif
