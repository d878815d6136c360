/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Answers to ARP requests and neighbour solicitations, made of the question. */
#ifndef WEFT_NEIGH_H
#define WEFT_NEIGH_H

#include "packet.h"
#include "sum.h"

#define ND_MAX_WORDS 11 /* 8-byte words of a solicitation: 24 bytes + options */
#define ND_OPT_SOURCE 1
#define ND_OPT_TARGET 2
#define ND_SOLICITED  0x40000000
#define ND_OVERRIDE   0x20000000
#define ND_ADVERT_LEN 32

struct nd_frame {
	struct ipv6hdr ip;
	struct icmp6_head icmp;
	__u8 target[16];
	__u8 opt, opt_len;
	__u8 mac[6];
};

static __always_inline int arp_answer(FRAME *f,
				      const struct pkt *p, const __u8 *mac)
{
	void *data = frame_data(f), *end = frame_end(f);
	struct ethhdr *eth = data;
	struct arp_frame *arp = data + (p->l3 & 31);
	__u8 ip[4];

	if ((void *)(eth + 1) > end || (void *)(arp + 1) > end)
		return LB_DROP_INTERNAL;
	/* An announcement (sender is target) asks nothing. */
	if (p->src[1] == p->dst[1])
		return LB_PASS_ARP;
	__builtin_memcpy(eth->h_dest, arp->sha, 6);
	__builtin_memcpy(eth->h_source, mac, 6);
	arp->op = bpf_htons(2);
	__builtin_memcpy(ip, arp->tip, 4);
	__builtin_memcpy(arp->tha, arp->sha, 6);
	__builtin_memcpy(arp->tip, arp->sip, 4);
	__builtin_memcpy(arp->sha, mac, 6);
	__builtin_memcpy(arp->sip, ip, 4);
	return LB_ARP_ANSWERED;
}

/* RFC 4861 section 7.1.1: what a solicitation must be to deserve an answer. */
static __always_inline int nd_valid(FRAME *f, const struct pkt *p)
{
	void *data = frame_data(f), *end = frame_end(f);
	__u32 l3 = p->l3 & 31, len = p->l4_len;
	struct ipv6hdr *ip = data + l3;
	const struct icmp6_head *icmp = data + l3 + sizeof(*ip);
	int from_nobody = !p->src[0] && !p->src[1];
	__u32 next_option = 3;
	__u64 sum;

	if ((void *)(icmp + 1) > end)
		return 0;
	if (ip->hop_limit != 255 || icmp->code || len & 7 ||
	    len > ND_MAX_WORDS * 8)
		return 0;
	if (from_nobody &&
	    (load32(&ip->daddr) != bpf_htonl(0xff020000) ||
	     load32((void *)&ip->daddr + 8) != bpf_htonl(1)))
		return 0;
	sum = bpf_htons(len) + bpf_htons(IPPROTO_ICMPV6);
	for (int i = 0; i < 4; i++)
		sum = sum_add8(sum, (void *)&ip->saddr + i * 8);
	for (__u32 i = 0; i < ND_MAX_WORDS; i++) {
		const __u8 *word = data + l3 + sizeof(*ip) + i * 8;

		if (i * 8 >= len)
			break;
		if ((void *)(word + 8) > end)
			return 0;
		sum = sum_add8(sum, word);
		if (i != next_option)
			continue;
		if (!word[1] || (from_nobody && word[0] == ND_OPT_SOURCE))
			return 0;
		next_option += word[1];
		if (next_option * 8 > len)
			return 0;
	}
	return sum_fold(sum) == 0;
}

static __always_inline int nd_answer(FRAME *f,
				     const struct pkt *p, const __u8 *mac)
{
	int from_nobody = !p->src[0] && !p->src[1];
	__u32 l3 = p->l3 & 31;

	if (!nd_valid(f, p))
		return LB_DROP_MALFORMED;
	if (frame_resize(f, frame_len(f), l3 + sizeof(struct nd_frame)))
		return LB_DROP_INTERNAL;

	void *data = frame_data(f), *end = frame_end(f);
	struct ethhdr *eth = data;
	struct nd_frame *nd = data + l3;
	__u64 sum;

	if ((void *)(eth + 1) > end || (void *)(nd + 1) > end)
		return LB_DROP_INTERNAL;
	/* The answer to a duplicate address probe goes to all nodes. */
	if (from_nobody) {
		static const __u8 all_nodes[6] = { 0x33, 0x33, 0, 0, 0, 1 };

		__builtin_memcpy(eth->h_dest, all_nodes, 6);
		nd->ip.daddr.in6_u.u6_addr32[0] = bpf_htonl(0xff020000);
		nd->ip.daddr.in6_u.u6_addr32[1] = 0;
		nd->ip.daddr.in6_u.u6_addr32[2] = 0;
		nd->ip.daddr.in6_u.u6_addr32[3] = bpf_htonl(1);
	} else {
		__builtin_memcpy(eth->h_dest, eth->h_source, 6);
		__builtin_memcpy(&nd->ip.daddr, p->src, 16);
	}
	__builtin_memcpy(eth->h_source, mac, 6);
	*(__u32 *)&nd->ip = bpf_htonl(0x60000000);
	nd->ip.payload_len = bpf_htons(ND_ADVERT_LEN);
	nd->ip.nexthdr = IPPROTO_ICMPV6;
	nd->ip.hop_limit = 255;
	__builtin_memcpy(&nd->ip.saddr, p->dst, 16);
	nd->icmp.type = ND_ADVERT;
	nd->icmp.code = 0;
	nd->icmp.check = 0;
	nd->icmp.flags = bpf_htonl(from_nobody ? ND_OVERRIDE :
						 ND_OVERRIDE | ND_SOLICITED);
	__builtin_memcpy(nd->target, p->dst, 16);
	nd->opt = ND_OPT_TARGET;
	nd->opt_len = 1;
	__builtin_memcpy(nd->mac, mac, 6);

	sum = bpf_htons(ND_ADVERT_LEN) + bpf_htons(IPPROTO_ICMPV6);
	for (int i = 0; i < 4; i++)
		sum = sum_add8(sum, (void *)&nd->ip.saddr + i * 8);
	for (int i = 0; i < ND_ADVERT_LEN / 8; i++)
		sum = sum_add8(sum, (void *)&nd->icmp + i * 8);
	nd->icmp.check = sum_fold(sum);
	return LB_ND_ANSWERED;
}

#endif
