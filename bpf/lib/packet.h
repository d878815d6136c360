/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* One parse step: frame -> struct pkt. Decisions are made elsewhere. */
#ifndef WEFT_PACKET_H
#define WEFT_PACKET_H

#include "pkt.h"

/* A tag is transparent when it carries no VLAN (a priority tag). */
static __always_inline int vlan_known(struct pkt *p, __u16 vid, __u16 vlan)
{
	p->tags++;
	if (!vid)
		return 1;
	if (vid != vlan)
		return 0;
	p->ours = 1;
	return 1;
}

/* What to do about an ICMP message of the packet's family. */
static __always_inline __u8 parse_icmp(struct pkt *p, __u32 head)
{
	__u8 type = head, code = head >> 8;

	if (p->kind == PKT_IPV4) {
		if (type == 8 && !code)
			p->flags |= PKT_ECHO;
		else if (type == 3 || type == 11 || type == 12)
			p->flags |= PKT_ERROR;
		else
			return LB_DROP_ICMP;
	} else {
		if (type == 128 && !code)
			p->flags |= PKT_ECHO;
		else if (type >= 1 && type <= 4)
			p->flags |= PKT_ERROR;
		else
			return LB_DROP_ICMP;
	}
	return LB_NONE;
}

/* The transport header at offset at, whose first four bytes are head: its ports,
 * or why there are none. */
static __always_inline __u8 parse_l4(struct pkt *p, __u32 head, __u32 at,
				     __u8 proto, __u32 len)
{
	__u32 need;

	p->l4 = at;
	p->l4_len = len;
	switch (proto) {
	case IPPROTO_TCP:
		p->proto = PKT_TCP;
		need = 20;
		break;
	case IPPROTO_UDP:
		p->proto = PKT_UDP;
		need = 8;
		break;
	case IPPROTO_SCTP_:
		p->proto = PKT_SCTP;
		need = 12;
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		if ((proto == IPPROTO_ICMP) != (p->kind == PKT_IPV4))
			return LB_DROP_PROTOCOL;
		return len < 8 ? LB_DROP_MALFORMED : parse_icmp(p, head);
	default:
		return LB_DROP_PROTOCOL;
	}
	if (len < need)
		return LB_DROP_MALFORMED;
	p->sport = head;
	p->dport = head >> 16;
	return LB_NONE;
}

/* Neighbour solicitation: its target takes the place of the destination. */
static __always_inline void parse_nd(struct pkt *p, const void *data,
				     const void *cur, const void *end,
				     __u32 len)
{
	const struct icmp6_head *icmp = cur;

	if (len < 24 || cur + 24 > end || icmp->type != ND_SOLICIT)
		return;
	p->kind = PKT_ND;
	p->l4 = cur - data;
	p->l4_len = len;
	copy16(p->dst, cur + 8);
}

static __always_inline int is_extension(__u8 next, int v4)
{
	return next == IPPROTO_AH ||
	       (!v4 && (next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING ||
			next == IPPROTO_DSTOPTS || next == IPPROTO_FRAGMENT));
}

/* The fragment header in the first eight bytes of ext. */
static __always_inline __u8 parse_fragment6(struct pkt *p, const __u8 *ext)
{
	__u16 field = bpf_ntohs(load16(ext + 2));

	if (!(field & 0xfff9))
		return LB_NONE; /* an atomic fragment (RFC 6946) is a whole packet */
	p->frag_id = load32(ext + 4);
	p->flags |= field & 0xfff8 ? PKT_LATER : PKT_FIRST;
	return LB_NONE;
}

/*
 * parse_extensions walks over the extension headers, next at offset at being
 * the first of len bytes, to the transport header. Like parse, it is a global
 * function for the verifier's sake.
 */
__noinline int parse_extensions(FRAME *f, struct pkt *p, __u32 at, __u32 next,
				__u32 len)
{
	if (!p)
		return LB_DROP_INTERNAL;
	/* Kernels before 6.7 take some layouts of this loop for an endless one. */
#pragma clang loop unroll(full)
	for (int i = 0; i <= PKT_MAX_EXT; i++) {
		__u8 ext[8] = {};
		__u32 size = 8;

		if (!is_extension(next, p->kind == PKT_IPV4)) {
			__u32 head = 0;

			p->ip_proto = next;
			if (frame_load(f, at, &head, sizeof(head)) && len >= 4)
				return LB_DROP_MALFORMED;
			return parse_l4(p, head, at, next, len);
		}
		if (i == PKT_MAX_EXT)
			break;
		if (len < 8 || frame_load(f, at, ext, sizeof(ext)))
			return LB_DROP_MALFORMED;
		if (next == IPPROTO_FRAGMENT)
			parse_fragment6(p, ext);
		else if (next == IPPROTO_AH)
			size = (ext[1] + 2) * 4;
		else
			size += ext[1] * 8;
		if (next == IPPROTO_ROUTING && ext[3])
			break; /* not yet at its last destination */
		if (size > len)
			return LB_DROP_MALFORMED;
		next = ext[0];
		at += size;
		len -= size;
		if (p->flags & PKT_LATER) {
			p->ip_proto = next;
			return LB_NONE;
		}
	}
	return LB_DROP_EXTENSION;
}

static __always_inline int parse_ipv4(FRAME *f, struct pkt *p, const void *data,
				      const void *cur, const void *end)
{
	const struct iphdr *ip = cur;

	if ((const void *)(ip + 1) > end)
		return LB_DROP_MALFORMED;
	p->kind = PKT_IPV4;
	p->src[1] = mapped(ip->saddr);
	p->dst[1] = mapped(ip->daddr);
	p->ttl = ip->ttl;

	__u32 have = frame_len(f) - p->l3, head = ip->ihl * 4;
	__u32 total = bpf_ntohs(ip->tot_len);
	__u16 frag = ip->frag_off;

	if (!total && frame_segment(f)) /* a BIG TCP packet does not fit 16 bits */
		total = have;
	p->ip_len = total;
	p->ip_proto = ip->protocol;
	if (ip->version != 4 || head < sizeof(*ip) || total < head ||
	    total > have) {
		p->why = LB_DROP_MALFORMED;
		return LB_NONE;
	}
	if (frag & bpf_htons(0x4000))
		p->flags |= PKT_DF;
	if (frag & bpf_htons(0x3fff)) {
		p->frag_id = ip->id;
		p->frag_proto = ip->protocol;
		p->flags |= frag & bpf_htons(0x1fff) ? PKT_LATER : PKT_FIRST;
		if (p->flags & PKT_LATER)
			return LB_NONE;
	}
	cur += head;
	total -= head;
	if (ip->protocol == IPPROTO_AH)
		p->why = parse_extensions(f, p, cur - data, IPPROTO_AH, total);
	else if (cur + 4 <= end)
		p->why = parse_l4(p, load32(cur), cur - data, ip->protocol,
				  total);
	else
		p->why = parse_l4(p, 0, cur - data, ip->protocol, 0);
	return LB_NONE;
}

static __always_inline int parse_ipv6(FRAME *f, struct pkt *p, const void *data,
				      const void *cur, const void *end)
{
	const struct ipv6hdr *ip = cur;

	if ((const void *)(ip + 1) > end)
		return LB_DROP_MALFORMED;
	p->kind = PKT_IPV6;
	copy16(p->src, &ip->saddr);
	copy16(p->dst, &ip->daddr);
	p->ttl = ip->hop_limit;

	__u32 have = frame_len(f) - p->l3 - sizeof(*ip);
	__u32 len = bpf_ntohs(ip->payload_len);
	__u8 next = ip->nexthdr;

	if (!len && frame_segment(f))
		len = have;
	p->ip_len = len + sizeof(*ip);
	p->ip_proto = next;
	if (ip->version != 6 || len > have) {
		p->why = LB_DROP_MALFORMED;
		return LB_NONE;
	}
	p->flags |= PKT_DF;
	cur += sizeof(*ip);
	if (is_extension(next, 0)) {
		p->why = parse_extensions(f, p, cur - data, next, len);
		return LB_NONE;
	}
	if (cur + 4 <= end)
		p->why = parse_l4(p, load32(cur), cur - data, next, len);
	else
		p->why = parse_l4(p, 0, cur - data, next, 0);
	if (next == IPPROTO_ICMPV6)
		parse_nd(p, data, cur, end, len);
	return LB_NONE;
}

static __always_inline int parse_arp(struct pkt *p, const void *cur,
				     const void *end)
{
	const struct arp_frame *arp = cur;

	if ((const void *)(arp + 1) > end)
		return LB_DROP_MALFORMED;
	if (arp->htype != bpf_htons(1) || arp->ptype != ETH_P_IP_N ||
	    arp->hlen != 6 || arp->plen != 4 || arp->op != bpf_htons(1))
		return LB_PASS_ARP;
	p->kind = PKT_ARP;
	p->src[1] = mapped(load32(arp->sip));
	p->dst[1] = mapped(load32(arp->tip));
	return LB_NONE;
}

/*
 * parse fills p (zeroed by the caller, but for PKT_TRACE). It returns LB_NONE
 * when p->src and p->dst are known, even if the rest of the packet is not as it
 * should be (p->why says so): whether that matters depends on whose packet it is.
 *
 * It is a global function because the verifier looks at those once, for
 * itself. Inlined, each of its many paths is followed through all the rest.
 */
__noinline int parse(FRAME *f, struct pkt *p, __u16 vlan)
{
	if (!p)
		return LB_DROP_INTERNAL;

	__u32 len = frame_len(f);
	const void *data = frame_data(f), *end = frame_end(f);

	if (data + PKT_MAX_HEADERS > end && end - data < len) {
		if (len > PKT_MAX_HEADERS)
			len = PKT_MAX_HEADERS;
		if (frame_pull(f, len))
			return LB_DROP_INTERNAL;
		data = frame_data(f);
		end = frame_end(f);
	}

	const struct ethhdr *eth = data;
	const void *cur = eth + 1;

	if (cur > end)
		return LB_DROP_MALFORMED;

	__be16 proto = *(const __be16 *)(data + 12); /* ethhdr is packed */
	__u16 vid = 0;

	if (frame_tag(f, &vid) && !vlan_known(p, vid, vlan))
		return LB_PASS_VLAN;
	for (int i = 0; i < 2; i++) {
		const struct vlan_tag *tag = cur;

		if (proto != ETH_P_8021Q_N && proto != ETH_P_8021AD_N)
			break;
		if ((const void *)(tag + 1) > end)
			return LB_DROP_MALFORMED;
		if (!vlan_known(p, bpf_ntohs(tag->tci) & VLAN_VID_MASK, vlan))
			return LB_PASS_VLAN;
		proto = tag->proto;
		cur = tag + 1;
	}
	if ((vlan && !p->ours) || proto == ETH_P_8021Q_N ||
	    proto == ETH_P_8021AD_N)
		return LB_PASS_VLAN;
	p->l3 = cur - data;
	switch (proto) {
	case ETH_P_IP_N:
		return parse_ipv4(f, p, data, cur, end);
	case ETH_P_IPV6_N:
		return parse_ipv6(f, p, data, cur, end);
	case ETH_P_ARP_N:
		return parse_arp(p, cur, end);
	}
	return LB_PASS_NOT_IP;
}

#endif
