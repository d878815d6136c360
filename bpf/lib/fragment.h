/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Fragments follow the first one of their packet. */
#ifndef WEFT_FRAGMENT_H
#define WEFT_FRAGMENT_H

#include "slowpath.h"
#include "verdict.h"

#define FRAG_LIFE 5000000000ull /* ns that a first fragment is remembered */

static __always_inline void frag_key(const struct pkt *p, struct lb_frag_key *k)
{
	k->src[0] = p->src[0];
	k->src[1] = p->src[1];
	k->dst[0] = p->dst[0];
	k->dst[1] = p->dst[1];
	k->id = p->frag_id;
	k->proto = p->frag_proto;
}

/* frag_first keeps the key of a first fragment aside until what becomes of it is
 * known: an ICMP error is given the addresses of what it quotes meanwhile. */
static __always_inline void frag_first(const struct pkt *p)
{
	struct lb_punt *e = new_punt(LB_PUNT_RELEASE);

	if (e)
		frag_key(p, &e->key);
}

/* frag_remember notes what became of the first fragment. The slow path is told
 * after the note is there: it looks for the note after it has said that it waits,
 * so that one of the two finds the other. */
static __noinline void frag_remember(FRAME *f, const struct verdict *v,
				     __u32 reason)
{
	struct lb_frag note = {
		.time = bpf_ktime_get_coarse_ns(), .reason = reason,
	};
	struct lb_control *c = control();
	struct lb_punt *e = scratch();

	if (!v || !c || !e)
		return;
	note.stream = v->stream;
	note.flow = v->flow;
	note.target = v->target;
	bpf_map_update_elem(&lb_frags, &e->key, &note, BPF_ANY);
	/* The addition is there for the barrier. */
	if (__sync_fetch_and_add(&c->remembered, 1) + 1 &&
	    *(volatile __u32 *)&c->waiting)
		punt(f, e, 0);
}

/* frag_find sets what became of the first fragment in v and returns the reason,
 * LB_NONE if that is not known. */
static __noinline __u32 frag_find(const struct pkt *p, struct verdict *v)
{
	struct lb_frag_key key = {};
	const struct lb_frag *note;

	if (!p || !v)
		return LB_NONE;
	frag_key(p, &key);
	note = bpf_map_lookup_elem(&lb_frags, &key);
	if (!note || note->time + FRAG_LIFE < bpf_ktime_get_coarse_ns())
		return LB_NONE;
	v->stream = note->stream;
	v->flow = note->flow;
	v->target = note->target;
	return note->reason;
}

/* frag_park hands a fragment over that has come before the first one. */
static __noinline int frag_park(FRAME *f, const struct pkt *p)
{
	struct lb_punt *e;

	if (!p)
		return LB_DROP_INTERNAL;
	if (p->flags & PKT_TRACE)
		return LB_FRAGMENT_PARKED;
	if (limited(LB_LIMIT_PARK, PARK_GAP, PARK_BURST))
		return LB_DROP_FRAGMENT;
	e = new_punt(LB_PUNT_PARK);
	if (!e)
		return LB_DROP_INTERNAL;
	e->l3 = p->l3;
	frag_key(p, &e->key);
	return punt(f, e, PUNT_FRAMES) ? LB_DROP_FRAGMENT : LB_FRAGMENT_PARKED;
}

#endif
