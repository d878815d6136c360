/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Fragments follow the first one of their packet. */
#ifndef WEFT_FRAGMENT_H
#define WEFT_FRAGMENT_H

#include "slowpath.h"

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

/* frag_remember notes what became of a first fragment. The slow path is told
 * after the note is there: it looks for the note after it has said that it waits,
 * so that one of the two finds the other. */
static __noinline void frag_remember(FRAME *f, const struct lb_frag_key *k,
				     struct lb_frag *note)
{
	struct lb_control *c = control();

	if (!k || !note)
		return;
	note->time = bpf_ktime_get_coarse_ns();
	bpf_map_update_elem(&lb_frags, k, note, BPF_ANY);
	/* The addition is there for the barrier. */
	if (c && __sync_fetch_and_add(&c->remembered, 1) + 1 &&
	    *(volatile __u32 *)&c->waiting) {
		struct lb_punt e = { .kind = LB_PUNT_RELEASE };

		__builtin_memcpy(&e.key, k, sizeof(e.key));
		punt(f, &e, 0);
	}
}

/* frag_find returns what became of the first fragment, LB_NONE if that is not
 * known. */
static __always_inline __u32 frag_find(const struct pkt *p,
				       struct lb_frag *note)
{
	struct lb_frag_key key = {};

	frag_key(p, &key);

	const struct lb_frag *have = bpf_map_lookup_elem(&lb_frags, &key);

	if (!have || have->time + FRAG_LIFE < bpf_ktime_get_coarse_ns())
		return LB_NONE;
	*note = *have;
	return have->reason;
}

/* frag_park hands a fragment over that has come before the first one. */
static __noinline int frag_park(FRAME *f, const struct pkt *p)
{
	struct lb_punt e = { .kind = LB_PUNT_PARK, .l3 = p->l3 };

	if (p->flags & PKT_TRACE)
		return LB_FRAGMENT_PARKED;
	frag_key(p, &e.key);
	if (limited(LB_LIMIT_PARK, PARK_GAP, PARK_BURST) ||
	    punt(f, &e, PUNT_FRAMES))
		return LB_DROP_FRAGMENT;
	return LB_FRAGMENT_PARKED;
}

#endif
