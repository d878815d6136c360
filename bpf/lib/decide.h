/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What becomes of a frame from outside: the same at tcx and at XDP. */
#ifndef WEFT_DECIDE_H
#define WEFT_DECIDE_H

#include "lb_maps.h"
#include "packet.h"
#include "hash.h"
#include "classify.h"
#include "echo.h"
#include "fragment.h"
#include "neigh.h"
#include "quote.h"
#include "pin.h"
#include "slowpath.h"
#include "verdict.h"

/* find_target sets where a target is; 0 if it is nowhere. */
static __always_inline int find_target(struct verdict *v)
{
	const struct lb_target *t = bpf_map_lookup_elem(&lb_targets, &v->target);

	if (v->target && t) {
		v->hop = &t->hop[t->active & 1];
		if (v->hop->ifindex)
			return 1;
	}
	v->target = 0;
	return 0;
}

/* pick_target walks stream -> table -> slot -> target. */
static __always_inline int pick_target(struct verdict *v, __u32 hash)
{
	__u32 zero = 0, max = cfg_table_size;
	const __u64 *word = bpf_map_lookup_elem(&lb_streams, &v->stream);

	if (!word)
		return 0;
	__u64 now = *(const volatile __u64 *)word;
	__u32 size = now, slot = (now >> 32) + hash_pick(hash, size);
	void *ring = bpf_map_lookup_elem(&lb_rings, &v->stream);

	if (!size || !ring)
		return 0;
	const __u16 *slots = bpf_map_lookup_elem(ring, &zero);

	if (!slots || slot >= 2 * max)
		return 0;
	v->slot = slot - (now >> 32);
	asm volatile("" : "+r"(slot));
	v->target = slots[slot];
	return find_target(v);
}

/* choose_target prefers the target that the flow is pinned to. */
static __always_inline int choose_target(const struct pkt *p, struct verdict *v,
					 __u32 hash)
{
	if (!cfg_affinity)
		return pick_target(v, hash);
	if (pinned(p, v) && find_target(v))
		return 1;
	if (!pick_target(v, hash))
		return 0;
	pin(p, v);
	return 1;
}

/* balance finds the rule, the stream and the target of a packet with ports. */
static __always_inline int balance(FRAME *f, const struct blob *b,
				   const struct lb_header *h,
				   const struct pkt *p, __u32 vip,
				   struct verdict *v)
{
	__u32 hash = flow_hash(p), rule = classify(f, b, h, p, vip);

	if (!rule)
		return LB_DROP_NO_FLOW;
	v->stream = blob32(b, rule);
	v->flow = blob32(b, rule + 8);
	v->port = blob32(b, rule + 12);
	if (!v->port)
		v->port = nat_find(b, h, vip, p->proto, NAT_FORTH, p->dport);
	if (v->port == p->dport)
		v->port = 0;
	if (!choose_target(p, v, hash))
		return LB_DROP_NO_TARGET;
	return LB_FORWARDED;
}

/* A walk over the streams of a VIP. */
struct streams {
	struct blob b;
	__u32 at; /* offset of the next one */
	__u32 end;
	__u32 live;
};

static long stream_step(__u32 i, struct streams *s)
{
	if (s->at >= s->end)
		return 1;
	__u32 stream = blob32(&s->b, s->at);
	const __u64 *word = bpf_map_lookup_elem(&lb_streams, &stream);

	s->at += 4;
	s->live = word && (__u32)*(const volatile __u64 *)word;
	return s->live;
}

/* vip_live says that a stream which the VIP's rules lead to has a target. */
static __noinline int vip_live(__u32 vip)
{
	struct streams s = {};
	__u32 at;

	if (!open_blob(&s.b) || !blob32(&s.b, vip + 28))
		return 0;
	at = blob32(&s.b, vip + 20) + blob32(&s.b, vip + 28) * 8;
	s.at = at + 4;
	s.end = s.at + blob32(&s.b, at) * 4;
	bpf_loop(1 << 16, stream_step, &s, 0);
	return s.live;
}

/* later finds where the later fragments of a packet go. */
static __always_inline int later(FRAME *f, const struct pkt *p,
				 const struct lb_header *h, struct verdict *v)
{
	__u32 reason = frag_find(p, v);

	switch (reason) {
	case LB_NONE:
		return frag_park(f, p);
	case LB_FORWARDED:
		return find_target(v) ? LB_FRAGMENT_FORWARDED :
					LB_DROP_NO_TARGET;
	case LB_ECHO_ANSWERED:
		return echo_answer(f, p, h->mac);
	}
	return reason >= LB_DROP_MALFORMED ? reason : LB_DROP_INTERNAL;
}

/* quoted_flow makes p the flow of the packet that it quotes. */
static __always_inline int quoted_flow(FRAME *f, struct pkt *p)
{
	if (quote_parse(f, p, QUOTE_FORTH))
		return LB_DROP_ICMP;
	p->l4_len = sizeof(__u32); /* what byte matches may look at */
	return LB_NONE;
}

/* choose decides about a packet to a VIP that nothing is wrong with. */
static __always_inline int choose(FRAME *f, const struct blob *b,
				  const struct lb_header *h, struct pkt *p,
				  __u32 vip, struct verdict *v)
{
	int why;

	if (p->flags & PKT_ECHO)
		return vip_live(vip) ? echo_answer(f, p, h->mac) :
					  LB_DROP_NO_TARGET;
	if (p->flags & PKT_ERROR && (why = quoted_flow(f, p)))
		return why;
	why = balance(f, b, h, p, vip, v);
	return why == LB_FORWARDED && p->flags & PKT_ERROR ? LB_ICMP_FORWARDED :
							     why;
}

static __always_inline int is_forward(int why)
{
	return why >= LB_FORWARDED && why <= LB_ICMP_FORWARDED;
}

static __always_inline int is_answer(int why)
{
	return why >= LB_ARP_ANSWERED && why <= LB_ECHO_ANSWERED;
}

static __always_inline int is_pass(int why)
{
	return why >= LB_PASS_NOT_IP && why <= LB_PASS_REPLY;
}

/* add_loads counts a frame that is on its way to its target. */
static __always_inline void add_loads(const struct pkt *p,
				      const struct verdict *v, __u32 bytes)
{
	if (p->flags & PKT_TRACE)
		return;
	add_load(&lb_target_load, v->target, bytes);
	add_load(&lb_stream_load, v->stream, bytes);
	add_load(&lb_flow_load, v->flow, bytes);
}

/* to_target decides about a packet to the VIP in slot vip. */
static __always_inline int to_target(FRAME *f, const struct blob *b,
				     const struct lb_header *h, struct pkt *p,
				     __u32 vip, struct verdict *v)
{
	int why, first = (p->flags & (PKT_FIRST | PKT_TRACE)) == PKT_FIRST;

	if (p->flags & PKT_LATER) {
		why = later(f, p, h, v);
	} else {
		if (first)
			frag_first(p);
		why = p->why ? p->why : choose(f, b, h, p, vip, v);
		if (first)
			frag_remember(f, v, why == LB_ICMP_FORWARDED ?
						    LB_FORWARDED : why);
	}
	if (!is_forward(why))
		return why;
	if (!v->hop) /* never, which the verifier does not know */
		return LB_DROP_INTERNAL;
	if (p->ttl <= 1) {
		punt_error(f, p, LB_PUNT_TTL, 0, 0);
		return LB_DROP_TTL;
	}
	if (v->hop->mtu && p->ip_len > v->hop->mtu) {
		struct link to = { v->hop->mtu, v->target, v->port, 0 };
		int big = oversize(f, p, &to);

		if (big == LB_FRAGMENTED)
			add_loads(p, v, frame_len(f));
		if (big)
			return big;
	}
	return why;
}

/* for_us says whether the frame is addressed to the external interface. */
static __always_inline int for_us(FRAME *f, const struct pkt *p,
				  const struct lb_header *h)
{
#ifdef LB_XDP
	const __u8 *to = frame_data(f);

	if ((void *)(to + 6) > frame_end(f))
		return 0;
	if (to[0] & 1)
		return p->kind > PKT_IPV6;
	return load32(to) == load32(h->mac) && load16(to + 4) == load16(h->mac + 4);
#else
	return p->kind > PKT_IPV6 ? f->pkt_type != PACKET_OTHERHOST_ :
				    f->pkt_type == PACKET_HOST_;
#endif
}

/*
 * decide is the one decision: it returns the reason. What is answered has become
 * the answer, what the slow path shall have it has got, what is to be forwarded is
 * as it came, and v says where to.
 */
static __always_inline int decide(FRAME *f, struct pkt *p, struct verdict *v)
{
	struct blob b;
	int why = parse(f, p, cfg_vlan);

	if (why)
		return why;
	if (!open_blob(&b))
		return LB_DROP_INTERNAL;

	const struct lb_header *h = b.base;

	if (!for_us(f, p, h))
		return LB_PASS_NOT_HOST;
	v->clamp = h->options & LB_OPTION_MSS_CLAMP;

	__u32 vip = prefix_find(&b, p, VIP_OF_DST);

	if (!vip)
		return p->kind == PKT_ARP ? LB_PASS_ARP : LB_PASS_NOT_VIP;
	if (p->kind == PKT_ARP)
		return arp_answer(f, p, h->mac);
	if (p->kind == PKT_ND)
		return nd_answer(f, p, h->mac);
	if (p->why == LB_DROP_MALFORMED && !(p->flags & PKT_FIRST))
		return p->why;
	return to_target(f, &b, h, p, vip, v);
}

#endif
