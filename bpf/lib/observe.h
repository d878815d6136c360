/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Decisions for who watches: sampled, filtered and limited here, so that watching
 * cannot hurt the data path. */
#ifndef WEFT_OBSERVE_H
#define WEFT_OBSERVE_H

#include "lb_maps.h"
#include "packet.h"
#include "verdict.h"

#define EVENTS_BURST 64
#define CLOCK_TICK   10000000ull /* ns: of the coarse clock, at most (HZ=100) */

static __always_inline int within(const __u64 *addr, const __u64 *net,
				  const __u64 *mask)
{
	return (addr[0] & mask[0]) == net[0] && (addr[1] & mask[1]) == net[1];
}

static __always_inline int wanted(const struct lb_control *c,
				  const struct pkt *p, __u32 reason)
{
	return c->reasons >> (reason & 63) & 1 &&
	       (!c->proto || c->proto == p->ip_proto) &&
	       (!c->port || c->port == p->sport || c->port == p->dport) &&
	       within(p->src, c->src, c->src_mask) &&
	       within(p->dst, c->dst, c->dst_mask) &&
	       (c->sample <= 1 ||
		(__u64)bpf_get_prandom_u32() * c->sample >> 32 == 0);
}

static __noinline void observe(FRAME *f, const struct pkt *p,
			       const struct verdict *v, __u32 reason,
			       __u32 reply)
{
	struct lb_control *c = control();
	struct lb_event *e;

	if (!c || !p || !v || !wanted(c, p, reason))
		return;
	/* Those of a whole tick seem to come at once. */
	if (limited(LB_LIMIT_EVENTS, c->interval,
		    EVENTS_BURST + CLOCK_TICK / c->interval))
		return;
	e = bpf_ringbuf_reserve(&lb_events, sizeof(*e), 0);
	if (!e)
		return; /* nobody reads as fast as this */
	e->time = bpf_ktime_get_coarse_ns();
	e->src[0] = p->src[0];
	e->src[1] = p->src[1];
	e->dst[0] = p->dst[0];
	e->dst[1] = p->dst[1];
	e->len = frame_len(f);
	e->stream = v->stream;
	e->flow = v->flow;
	e->target = v->target;
	e->sport = p->sport;
	e->dport = p->dport;
	e->proto = p->ip_proto;
	e->reason = reason;
	e->reply = reply;
	e->family = p->kind;
	bpf_ringbuf_submit(e, 0);
}

static __always_inline void count(__u32 reason)
{
	__u64 *n = bpf_map_lookup_elem(&lb_stats, &reason);

	if (n)
		++*n;
}

static __always_inline int watched(void)
{
	const struct lb_control *c = control();

	return c && *(const volatile __u32 *)&c->observe;
}

#endif
