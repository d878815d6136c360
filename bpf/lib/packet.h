/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* One parse step: frame -> struct pkt. Decisions are made elsewhere. */
#ifndef WEFT_PACKET_H
#define WEFT_PACKET_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "lb_types.h"

#define PKT_MAX_HEADERS 256 /* bytes made linear before parsing */
#define PKT_MAX_EXT     8   /* IPv6 extension headers walked */
#define PKT_MAX_EXT_LEN 160 /* and their bytes in all */

#define IPPROTO_SCTP_   132
#define VLAN_VID_MASK   0x0fff
#define V4_MAPPED       0xffff0000ull /* bytes 8 to 11 of ::ffff:0:0/96 */

#define ETH_P_8021Q_N   0x0081
#define ETH_P_8021AD_N  0xa888
#define ETH_P_IP_N      0x0008
#define ETH_P_IPV6_N    0xdd86
#define ETH_P_ARP_N     0x0608

#define PACKET_HOST_      0
#define PACKET_OTHERHOST_ 3

#define ND_SOLICIT 135
#define ND_ADVERT  136

enum pkt_kind { PKT_IPV4, PKT_IPV6, PKT_ARP, PKT_ND };

/* Addresses and ports stay as loaded from network order; an IPv4 address is
 * v4-mapped in the second word. */
struct pkt {
	__u64 src[2];
	__u64 dst[2];   /* ARP and ND: the address asked for */
	__u16 sport;
	__u16 dport;
	__u16 l3;       /* offset of the network header */
	__u16 l4;
	__u16 l4_len;   /* bytes of IP payload after the extension headers */
	__u8 kind;      /* enum pkt_kind */
	__u8 proto;     /* index: TCP 0, UDP 1, SCTP 2 */
	__u8 ttl;
	__u8 tags;      /* VLAN tags, wherever they are */
	__u8 ours;      /* carries the configured VLAN's tag */
	__u8 why;       /* enum lb_reason: why it has no ports, LB_NONE if it has */
};

struct vlan_tag {
	__be16 tci;
	__be16 proto;
};

struct arp_frame {
	__be16 htype;
	__be16 ptype;
	__u8 hlen;
	__u8 plen;
	__be16 op;
	__u8 sha[6];
	__u8 sip[4];
	__u8 tha[6];
	__u8 tip[4];
};

struct icmp6_head {
	__u8 type;
	__u8 code;
	__u16 check;
	__u32 flags;
};

static __always_inline __u32 load32(const void *p)
{
	return *(const __u32 *)p;
}

/* Unaligned, as packets are: memcpy would copy byte by byte. */
static __always_inline void copy12(void *to, const void *from)
{
	*(volatile __u64 *)to = *(const __u64 *)from;
	*(volatile __u32 *)(to + 8) = *(const __u32 *)(from + 8);
}

/* In words, as they are read back: narrower stores would stall the load. */
static __always_inline void copy16(__u64 *to, const void *from)
{
	to[0] = *(const __u64 *)from;
	to[1] = *(const __u64 *)(from + 8);
}

static __always_inline __u64 mapped(__u32 addr)
{
	return V4_MAPPED | (__u64)addr << 32;
}

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

/* Ports of the transport header at cur, or why there are none. */
static __always_inline __u8 parse_l4(struct pkt *p, const void *data,
				     const void *cur, const void *end,
				     __u8 proto, __u32 len)
{
	__u32 need;

	switch (proto) {
	case IPPROTO_TCP:
		p->proto = 0;
		need = 20;
		break;
	case IPPROTO_UDP:
		p->proto = 1;
		need = 8;
		break;
	case IPPROTO_SCTP_:
		p->proto = 2;
		need = 12;
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return LB_DROP_ICMP;
	default:
		return LB_DROP_PROTOCOL;
	}
	if (len < need || cur + 4 > end)
		return LB_DROP_MALFORMED;
	__u32 ports = load32(cur);
	p->sport = ports;
	p->dport = ports >> 16;
	p->l4 = cur - data;
	p->l4_len = len;
	return LB_NONE;
}

static __always_inline int parse_ipv4(struct __sk_buff *skb, struct pkt *p,
				      const void *data, const void *cur,
				      const void *end)
{
	const struct iphdr *ip = cur;

	if ((const void *)(ip + 1) > end)
		return LB_DROP_MALFORMED;
	p->kind = PKT_IPV4;
	p->src[1] = mapped(ip->saddr);
	p->dst[1] = mapped(ip->daddr);
	p->ttl = ip->ttl;

	__u32 have = skb->len - p->l3, head = ip->ihl * 4;
	__u32 total = bpf_ntohs(ip->tot_len);

	if (!total && skb->gso_size) /* a BIG TCP packet does not fit 16 bits */
		total = have;
	if (ip->version != 4 || head < sizeof(*ip) || total < head ||
	    total > have)
		p->why = LB_DROP_MALFORMED;
	else if (ip->frag_off & bpf_htons(0x3fff))
		p->why = LB_DROP_FRAGMENT;
	else
		p->why = parse_l4(p, data, cur + head, end, ip->protocol,
				  total - head);
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

static __always_inline int is_extension(__u8 next)
{
	return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING ||
	       next == IPPROTO_DSTOPTS || next == IPPROTO_FRAGMENT;
}

/*
 * parse_extensions walks over the extension headers, next at offset at being
 * the first of len bytes, to the transport header. Like parse, it is a global
 * function for the verifier's sake.
 */
__noinline int parse_extensions(struct __sk_buff *skb, struct pkt *p, __u32 at,
				__u32 next, __u32 len)
{
	const void *data = (void *)(long)skb->data;
	const void *end = (void *)(long)skb->data_end;
	__u32 walked = 0;

	if (!p)
		return LB_DROP_INTERNAL;
	at &= PKT_MAX_HEADERS - 1;
	/* Kernels before 6.7 take some layouts of this loop for an endless one. */
#pragma clang loop unroll(full)
	for (int i = 0; i <= PKT_MAX_EXT; i++) {
		const __u8 *ext = data + at + walked;
		__u32 size = 8;

		if (!is_extension(next))
			return parse_l4(p, data, ext, end, next, len);
		if (i == PKT_MAX_EXT)
			break;
		if (len < 8 || (const void *)ext + 8 > end)
			return LB_DROP_MALFORMED;
		if (next != IPPROTO_FRAGMENT)
			size += ext[1] * 8;
		/* an atomic fragment (RFC 6946) is a whole packet */
		else if (load32(ext) & bpf_htonl(0x0000fff9))
			return LB_DROP_FRAGMENT;
		if (next == IPPROTO_ROUTING && ext[3])
			break; /* not yet at its last destination */
		if (size > len)
			return LB_DROP_MALFORMED;
		walked += size;
		if (walked > PKT_MAX_EXT_LEN)
			break;
		next = ext[0];
		len -= size;
	}
	return LB_DROP_EXTENSION;
}

static __always_inline int parse_ipv6(struct __sk_buff *skb, struct pkt *p,
				      const void *data, const void *cur,
				      const void *end)
{
	const struct ipv6hdr *ip = cur;

	if ((const void *)(ip + 1) > end)
		return LB_DROP_MALFORMED;
	p->kind = PKT_IPV6;
	copy16(p->src, &ip->saddr);
	copy16(p->dst, &ip->daddr);
	p->ttl = ip->hop_limit;

	__u32 have = skb->len - p->l3 - sizeof(*ip);
	__u32 len = bpf_ntohs(ip->payload_len);
	__u8 next = ip->nexthdr;

	if (!len && skb->gso_size)
		len = have;
	if (ip->version != 6 || len > have) {
		p->why = LB_DROP_MALFORMED;
		return LB_NONE;
	}
	cur += sizeof(*ip);
	if (next == IPPROTO_ICMPV6) {
		p->why = LB_DROP_ICMP;
		parse_nd(p, data, cur, end, len);
	} else if (is_extension(next)) {
		p->why = parse_extensions(skb, p, cur - data, next, len);
	} else {
		p->why = parse_l4(p, data, cur, end, next, len);
	}
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
 * parse fills p (zeroed by the caller). It returns LB_NONE when p->src and
 * p->dst are known, even if the rest of the packet is not as it should be
 * (p->why says so): whether that matters depends on whose packet it is.
 *
 * It is a global function because the verifier looks at those once, for
 * itself. Inlined, each of its many paths is followed through all the rest.
 */
__noinline int parse(struct __sk_buff *skb, struct pkt *p, __u16 vlan)
{
	if (!p)
		return LB_DROP_INTERNAL;

	__u32 len = skb->len;
	const void *data = (void *)(long)skb->data;
	const void *end = (void *)(long)skb->data_end;

	if (data + PKT_MAX_HEADERS > end && end - data < len) {
		if (len > PKT_MAX_HEADERS)
			len = PKT_MAX_HEADERS;
		if (bpf_skb_pull_data(skb, len))
			return LB_DROP_INTERNAL;
		data = (void *)(long)skb->data;
		end = (void *)(long)skb->data_end;
	}

	const struct ethhdr *eth = data;
	const void *cur = eth + 1;

	if (cur > end)
		return LB_DROP_MALFORMED;

	__be16 proto = *(const __be16 *)(data + 12); /* ethhdr is packed */

	if (skb->vlan_present &&
	    !vlan_known(p, skb->vlan_tci & VLAN_VID_MASK, vlan))
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
		return parse_ipv4(skb, p, data, cur, end);
	case ETH_P_IPV6_N:
		return parse_ipv6(skb, p, data, cur, end);
	case ETH_P_ARP_N:
		return parse_arp(p, cur, end);
	}
	return LB_PASS_NOT_IP;
}

#endif
