/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Changes of packets on their way: ports, the MSS option, TTL and tags. */
#ifndef WEFT_REWRITE_H
#define WEFT_REWRITE_H

#include "packet.h"
#include "sum.h"

#define CRC32C_POLY 0x82f63b78u /* RFC 9260 appendix A, bits reversed */

#define TCP_CHECK  16
#define UDP_CHECK  6
#define ICMP_CHECK 2
#define SCTP_CHECK 8

#define TCP_SYN      0x02
#define TCP_OPT_END  0
#define TCP_OPT_NOP  1
#define TCP_OPT_MSS  2
#define TCP_OPT_MAX  40 /* bytes of options */

/* x^(8*i) and x^(8*256*i) modulo the polynomial; set by the owner. */
const volatile __u32 cfg_crc_low[256];
const volatile __u32 cfg_crc_high[256];

/* bit is 0 or 1. Multiplying by it hides it from the verifier, which would follow
 * both values of each of the many bits; so does the statement, from the compiler. */
static __always_inline __u32 times(__u32 bit, __u32 v)
{
	asm volatile("" : "+r"(bit));
	return bit * v;
}

/* crc_mul multiplies two polynomials modulo CRC32C's, bits reversed: the highest
 * bit is x^0. */
static __always_inline __u32 crc_mul(__u32 a, __u32 b)
{
	__u32 product = 0;

	for (int i = 0; i < 32; i++) {
		product ^= times(a >> 31, b);
		a <<= 1;
		b = b >> 1 ^ times(b & 1, CRC32C_POLY);
	}
	return product;
}

/* crc_change is what a CRC32c changes by when two bytes (xor of before and after,
 * as loaded) change and follow more bytes come after them: CRCs are linear. */
__noinline __u32 crc_change(__u32 change, __u32 follow)
{
	__u32 crc = change & 0xffff;

	for (int i = 0; i < 16; i++)
		crc = crc >> 1 ^ times(crc & 1, CRC32C_POLY);
	crc = crc_mul(crc, cfg_crc_low[follow & 0xff]);
	return crc_mul(crc, cfg_crc_high[follow >> 8 & 0xff]);
}

/* set16 writes two bytes that a checksum which is kept right elsewhere covers. */
static __always_inline int set16(struct __sk_buff *skb, __u32 at, __u16 v)
{
	return bpf_skb_store_bytes(skb, at, &v, sizeof(v), 0);
}

static __always_inline int set_sctp_port(struct __sk_buff *skb,
					 const struct pkt *p, __u32 at,
					 __u16 from, __u16 to)
{
	__u32 crc, end = p->l4 + p->l4_len;

	/* The checksum covers bytes that are not here. */
	if (p->flags & PKT_FIRST)
		return LB_DROP_NAT;
	if (bpf_skb_load_bytes(skb, p->l4 + SCTP_CHECK, &crc, sizeof(crc)))
		return LB_DROP_INTERNAL;
	crc ^= crc_change(from ^ to, end - at - 2);
	if (bpf_skb_store_bytes(skb, at, &to, sizeof(to), BPF_F_RECOMPUTE_CSUM) ||
	    bpf_skb_store_bytes(skb, p->l4 + SCTP_CHECK, &crc, sizeof(crc),
				BPF_F_RECOMPUTE_CSUM))
		return LB_DROP_INTERNAL;
	return LB_NONE;
}

/* set_port translates the port at offset at of the packet's transport header.
 * bpf_l4_csum_replace knows what to do in each state of checksum offloading. */
static __always_inline int set_port(struct __sk_buff *skb, const struct pkt *p,
				    __u32 at, __u16 from, __u16 to)
{
	__u32 check = p->l4 + TCP_CHECK, flags = 2;

	if (p->proto == PKT_SCTP)
		return set_sctp_port(skb, p, at, from, to);
	if (p->proto == PKT_UDP) {
		check = p->l4 + UDP_CHECK;
		flags |= BPF_F_MARK_MANGLED_0;
	}
	if (bpf_l4_csum_replace(skb, check, from, to, flags) ||
	    set16(skb, at, to))
		return LB_DROP_INTERNAL;
	return LB_NONE;
}

/* set_quoted changes 16 bits of an ICMP message. */
static __always_inline int set_quoted(struct __sk_buff *skb,
				      const struct pkt *p, __u32 at,
				      __u16 from, __u16 to)
{
	return bpf_l4_csum_replace(skb, p->l4 + ICMP_CHECK, from, to, 2) ||
	       set16(skb, at, to);
}

/*
 * set_quoted_port translates a port of the packet that an ICMP error quotes, and
 * its checksum if there is one and it is quoted. (Who receives a quote of SCTP
 * looks at the verification tag, RFC 9260 section 10.)
 */
static __always_inline int set_quoted_port(struct __sk_buff *skb,
					   const struct pkt *p, __u32 at,
					   __u16 from, __u16 to)
{
	__u32 check = p->quote + (p->proto == PKT_UDP ? UDP_CHECK : TCP_CHECK);
	__u16 was, now;

	if (set_quoted(skb, p, at, from, to))
		return LB_DROP_INTERNAL;
	/* ip_len counts from l3, and there may be padding behind it */
	if (p->proto == PKT_SCTP || check + 2 > p->l3 + p->ip_len)
		return LB_NONE;
	if (bpf_skb_load_bytes(skb, check, &was, sizeof(was)))
		return LB_DROP_INTERNAL;
	if (p->proto == PKT_UDP && !was)
		return LB_NONE;
	now = sum_change(was, from, to);
	if (p->proto == PKT_UDP && !now)
		now = 0xffff;
	return set_quoted(skb, p, check, was, now) ? LB_DROP_INTERNAL : LB_NONE;
}

/* A walk over TCP options. */
struct options {
	struct __sk_buff *skb;
	__u32 at;  /* offset of the next one */
	__u32 end;
	__u32 mss; /* offset of the option's value, 0: not found */
};

static long option_step(__u32 i, struct options *o)
{
	__u8 kind, len;

	if (o->at >= o->end || bpf_skb_load_bytes(o->skb, o->at, &kind, 1) ||
	    kind == TCP_OPT_END)
		return 1;
	if (kind == TCP_OPT_NOP) {
		o->at++;
		return 0;
	}
	if (o->at + 2 > o->end ||
	    bpf_skb_load_bytes(o->skb, o->at + 1, &len, 1) || len < 2 ||
	    o->at + len > o->end)
		return 1;
	if (kind == TCP_OPT_MSS && len == 4) {
		o->mss = o->at + 2;
		return 1;
	}
	o->at += len;
	return 0;
}

/* clamp_mss lowers the MSS option of a TCP SYN to what fits mtu. */
static __always_inline int clamp_mss(struct __sk_buff *skb,
				     const struct pkt *p, __u32 mtu)
{
	__u8 head[2];
	__u16 mss, to;
	int failed;
	__u32 most = mtu - (p->kind == PKT_IPV4 ? 40 : 60);

	if (bpf_skb_load_bytes(skb, p->l4 + 12, head, sizeof(head)) ||
	    !(head[1] & TCP_SYN) || most > 0xffff)
		return LB_NONE;

	struct options o = { .skb = skb, .at = p->l4 + 20 };
	__u32 len = (head[0] >> 4) * 4;

	o.end = p->l4 + (len < p->l4_len ? len : p->l4_len);
	bpf_loop(TCP_OPT_MAX, option_step, &o, 0);
	if (!o.mss || bpf_skb_load_bytes(skb, o.mss, &mss, sizeof(mss)) ||
	    bpf_ntohs(mss) <= most)
		return LB_NONE;
	to = bpf_htons(most);
	/* At an odd offset the bytes count the other way round. */
	if ((o.mss - p->l4) & 1)
		failed = bpf_l4_csum_replace(skb, p->l4 + TCP_CHECK,
					     __builtin_bswap16(mss),
					     __builtin_bswap16(to), 2);
	else
		failed = bpf_l4_csum_replace(skb, p->l4 + TCP_CHECK, mss, to, 2);
	return failed || set16(skb, o.mss, to) ? LB_DROP_INTERNAL : LB_NONE;
}

/* age takes one from the TTL or hop limit, and keeps the checksums right. */
static __always_inline int age(struct __sk_buff *skb, const struct pkt *p)
{
	void *data = frame_data(skb) + sizeof(struct ethhdr);
	void *end = frame_end(skb);

	if (p->kind == PKT_IPV4) {
		struct iphdr *ip = data;

		if ((void *)(ip + 1) > end)
			return LB_DROP_INTERNAL;
		__u32 check = ip->check + bpf_htons(0x0100);

		ip->check = check + (check >= 0xffff);
		ip->ttl = p->ttl - 1;
	} else {
		struct ipv6hdr *ip = data;

		if ((void *)(ip + 1) > end)
			return LB_DROP_INTERNAL;
		ip->hop_limit = p->ttl - 1;
		/* What a device summed over the frame no longer holds: adding
		 * the complement of what was taken away repairs it. */
		bpf_csum_update(skb, (__u16)~bpf_htons(1));
	}
	return LB_NONE;
}

static __always_inline int pop_tags(struct __sk_buff *skb, const struct pkt *p)
{
	for (int i = 0; i < 3; i++) {
		if (i >= p->tags)
			break;
		if (bpf_skb_vlan_pop(skb))
			return LB_DROP_INTERNAL;
	}
	return LB_NONE;
}

#endif
