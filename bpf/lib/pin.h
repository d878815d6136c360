/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Flows that stay with their target when tables change, if that is wanted. */
#ifndef WEFT_PIN_H
#define WEFT_PIN_H

#include "lb_maps.h"
#include "packet.h"
#include "verdict.h"

static __always_inline void pin_key(const struct pkt *p, struct lb_flow_key *k)
{
	k->src[0] = p->src[0];
	k->src[1] = p->src[1];
	k->dst[0] = p->dst[0];
	k->dst[1] = p->dst[1];
	k->ports = p->sport | (__u32)p->dport << 16;
	k->proto = p->proto;
}

/* pinned sets the target that the flow is pinned to; 0 if there is none, or it
 * does not belong to the stream any more. */
static __noinline int pinned(const struct pkt *p, struct verdict *v)
{
	struct lb_flow_key k;
	const struct lb_pin *pin;
	const __u64 *members;
	__u32 word;

	if (!p || !v)
		return 0;
	pin_key(p, &k);
	pin = bpf_map_lookup_elem(&lb_pins, &k);
	if (!pin || pin->stream != v->stream)
		return 0;
	members = bpf_map_lookup_elem(&lb_members, &v->stream);
	word = pin->target >> 6;
	if (!members || word >= cfg_member_words)
		return 0;
	asm volatile("" : "+r"(word));
	if (!(members[word] >> (pin->target & 63) & 1))
		return 0;
	v->target = pin->target;
	return 1;
}

static __noinline void pin(const struct pkt *p, const struct verdict *v)
{
	struct lb_flow_key k;
	struct lb_pin to;

	if (!p || !v || p->flags & (PKT_TRACE | PKT_ERROR))
		return;
	pin_key(p, &k);
	to.stream = v->stream;
	to.target = v->target;
	bpf_map_update_elem(&lb_pins, &k, &to, BPF_ANY);
}

#endif
