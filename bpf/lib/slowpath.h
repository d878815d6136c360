/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the program does not do itself goes to its owner, a limited amount. */
#ifndef WEFT_SLOWPATH_H
#define WEFT_SLOWPATH_H

#include "lb_maps.h"
#include "packet.h"

#define PUNT_QUOTE    1500 /* bytes that an ICMP error needs at most */
#define PUNT_FRAMES   0xfffff /* the helper takes no longer ones */
#define ERRORS_GAP    500000ull /* ns: 2,000 per second */
#define ERRORS_BURST  200
#define PARK_GAP      20000ull /* ns: 50,000 per second */
#define PARK_BURST    2000

static __always_inline struct lb_punt *scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&lb_scratch, &zero);
}

/* new_punt returns an empty record. */
static __always_inline struct lb_punt *new_punt(enum lb_punt_kind kind)
{
	struct lb_punt *e = scratch();

	if (e) {
		__builtin_memset(e, 0, sizeof(*e));
		e->kind = kind;
	}
	return e;
}

/* punt hands the frame over, or only its first most bytes; 0 if it has it. */
static __always_inline int punt(FRAME *f, struct lb_punt *e, __u32 most)
{
	__u64 len = frame_len(f);

	e->len = len;
	if (len > most)
		len = most;
	return bpf_perf_event_output(f, &lb_punts, BPF_F_CURRENT_CPU | len << 32,
				     e, sizeof(*e)) != 0;
}

/* punt_error has an ICMP error sent, if it is not one too many. */
static __noinline void punt_error(FRAME *f, const struct pkt *p,
				  enum lb_punt_kind kind, __u32 mtu, __u32 leg)
{
	struct lb_punt *e;

	if (!p || p->flags & (PKT_LATER | PKT_ERROR | PKT_TRACE) ||
	    limited(LB_LIMIT_ERRORS, ERRORS_GAP, ERRORS_BURST))
		return;
	e = new_punt(kind);
	if (!e)
		return;
	e->l3 = p->l3;
	e->mtu = mtu;
	e->leg = leg;
	e->reply = leg != 0;
	punt(f, e, PUNT_QUOTE);
}

/* Where a packet is to go next. */
struct link {
	__u32 mtu;
	__u32 target; /* towards a target */
	__u32 port;   /* what its port is to become; 0: unchanged */
	__u32 leg;    /* a reply: where it came from */
};

/*
 * oversize is what becomes of a packet that the next link does not take. The
 * segments of a GSO packet are what counts: they all have the same headers.
 */
static __noinline int oversize(FRAME *f, const struct pkt *p,
			       const struct link *to)
{
	__u32 payload = frame_segment(f);

	if (!p || !to)
		return LB_DROP_INTERNAL;
	if (payload) {
		__u8 offset = 0;
		__u32 head = 8;

		if (p->proto == PKT_TCP) {
			if (frame_load(f, p->l4 + 12, &offset, 1))
				return LB_DROP_INTERNAL;
			head = (offset >> 4) * 4;
		}
		if (p->l4 - p->l3 + head + payload <= to->mtu)
			return LB_NONE;
	}
	if (p->flags & PKT_DF) {
		punt_error(f, p, LB_PUNT_TOO_BIG, to->mtu, to->leg);
		return LB_DROP_TOO_BIG;
	}
	if (p->flags & PKT_TRACE)
		return LB_FRAGMENTED;
	if (limited(LB_LIMIT_ERRORS, ERRORS_GAP, ERRORS_BURST))
		return LB_DROP_TOO_BIG;

	struct lb_punt *e = new_punt(LB_PUNT_CUT);

	if (!e)
		return LB_DROP_INTERNAL;
	e->l3 = p->l3;
	e->mtu = to->mtu;
	e->target = to->target;
	e->port = to->port;
	e->leg = to->leg;
	e->reply = to->leg != 0;
	e->gso = payload != 0;
	return punt(f, e, PUNT_FRAMES) ? LB_DROP_TOO_BIG : LB_FRAGMENTED;
}

#endif
