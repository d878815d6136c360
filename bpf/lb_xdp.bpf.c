// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* The load balancer at the XDP hook of the external interface: the decision is
 * that of lb, see lib/handover.h for what is left to lb. */
#define LB_XDP
#include "lib/decide.h"
#include "lib/handover.h"
#include "lib/observe.h"

char _license[] SEC("license") = "GPL";

/* hand_over leaves the frame to tcx with the decision. A driver that has no room
 * for metadata leaves it without: tcx decides again. */
static __always_inline int hand_over(struct xdp_md *xdp, const struct verdict *v,
				     int why)
{
	struct handover *m;

	if (bpf_xdp_adjust_meta(xdp, -(int)sizeof(*m)))
		return XDP_PASS;
	m = (void *)(long)xdp->data_meta;
	if ((void *)(m + 1) > (void *)(long)xdp->data)
		return XDP_PASS;
	m->secret = cfg_secret;
	m->target = v->target;
	m->stream = v->stream;
	m->flow = v->flow;
	m->slot = v->slot;
	m->port = v->port;
	m->reason = why;
	return XDP_PASS;
}

SEC("xdp.frags")
int lb_xdp(struct xdp_md *xdp)
{
	struct verdict v = {};
	struct pkt p = {};
	int why = decide(xdp, &p, &v);

	/* An error's translation needs what tcx finds out anyway. */
	if (is_pass(why) || why == LB_ICMP_FORWARDED)
		return XDP_PASS;
	if (is_forward(why))
		return hand_over(xdp, &v, why);
	count(why);
	if (watched())
		observe(xdp, &p, &v, why, 0);
	return is_answer(why) ? XDP_TX : XDP_DROP;
}
