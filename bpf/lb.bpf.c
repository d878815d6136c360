// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * The load balancer: lb at the tcx ingress of the external interface, lb_reply
 * at the tc ingress of each leg (one shared filter block), lb_egress (only with
 * a VLAN) at the tcx egress of the external interface; lb_probe tries it all.
 * bpf/README.md walks a packet through.
 */
#include "lib/decide.h"
#include "lib/gateway.h"
#include "lib/handover.h"
#include "lib/observe.h"
#include "lib/rewrite.h"

#define TCX_NEXT -1

/* Words of skb->cb where a test run finds how the decision was made. */
#define CB_REASON 0
#define CB_STREAM 1
#define CB_TARGET 2
#define CB_FLOW   3
#define CB_SLOT   4
#define CB_HOP    1 /* of a reply: four words, IPv4 is v4-mapped */

char _license[] SEC("license") = "GPL";

static __always_inline void note(struct __sk_buff *skb, const struct pkt *p,
				 const struct verdict *v, __u32 reason,
				 __u32 reply)
{
	skb->cb[CB_REASON] = reason;
	skb->cb[CB_STREAM] = v->stream;
	skb->cb[CB_TARGET] = v->target;
	skb->cb[CB_FLOW] = v->flow;
	skb->cb[CB_SLOT] = v->slot;
	if (p->flags & PKT_TRACE)
		return;
	count(reason);
	if (watched())
		observe(skb, p, v, reason, reply);
}

static __always_inline int translate(struct __sk_buff *skb,
				     const struct pkt *p, __u16 port)
{
	if (!port || p->flags & PKT_LATER)
		return LB_NONE;
	if (p->flags & PKT_ERROR) /* quotes a reply: the port is its source */
		return set_quoted_port(skb, p, p->quote, p->dport, port);
	return set_port(skb, p, p->l4 + 2, p->dport, port);
}

/* smaller is the smaller of two MTUs, of which 0 says nothing. */
static __always_inline __u32 smaller(__u32 a, __u32 b)
{
	return !a || (b && b < a) ? b : a;
}

/* clamp lowers the MSS option of a SYN to what fits the MTU of both sides. */
static __noinline int clamp(struct __sk_buff *skb, const struct pkt *p,
			    __u32 leg_mtu)
{
	struct blob b;
	__u32 mtu;

	if (!p || p->proto != PKT_TCP || p->why ||
	    p->flags & (PKT_LATER | PKT_ERROR | PKT_ECHO) || !open_blob(&b))
		return LB_NONE;
	mtu = smaller(leg_mtu, ((const struct lb_header *)b.base)->mtu);
	return mtu ? clamp_mss(skb, p, mtu) : LB_NONE;
}

static __always_inline int forward(struct __sk_buff *skb, const struct pkt *p,
				   const struct verdict *v, int *act)
{
	__u32 len = skb->len;
	int why;

	if (!v->hop)
		return LB_DROP_INTERNAL;
	if (v->port && (why = translate(skb, p, v->port)))
		return why;
	if (v->clamp && (why = clamp(skb, p, v->hop->mtu)))
		return why;
	if (p->tags && (why = pop_tags(skb, p)))
		return why;
	if ((why = age(skb, p)))
		return why;

	struct ethhdr *eth = frame_data(skb);

	if ((void *)(eth + 1) > frame_end(skb))
		return LB_DROP_INTERNAL;
	copy12(eth, v->hop->dst);
	add_loads(p, v, len);
	*act = bpf_redirect_peer(v->hop->ifindex, 0);
	return LB_NONE;
}

/* marked is what the mark of a packet says. The owner's are not to be had from
 * outside: what a wire brings has none. */
static __always_inline __u8 marked(__u32 mark)
{
	if (mark == cfg_trace)
		return PKT_TRACE;
	if ((mark & ~(LB_PROBES - 1)) == cfg_probe)
		return PKT_TRACE | PKT_PROBE;
	return 0;
}

/* arrived notes what was decided on a probe, which ends here. */
static __noinline int arrived(struct __sk_buff *skb, int why)
{
	__u32 at = skb->mark % LB_PROBES;
	struct lb_probe *o = bpf_map_lookup_elem(&lb_probes, &at);

	if (o && o->nonce != o->seen) {
		o->reason = why;
		o->stream = skb->cb[CB_STREAM];
		o->flow = skb->cb[CB_FLOW];
		o->target = skb->cb[CB_TARGET];
		__sync_lock_test_and_set(&o->seen, o->nonce);
	}
	return TC_ACT_SHOT;
}

SEC("tcx/ingress")
int lb(struct __sk_buff *skb)
{
	struct verdict v = {};
	struct pkt p = {};
	int act = TC_ACT_SHOT, why, failed;

	if (skb->mark)
		p.flags = marked(skb->mark);
	why = taken_over(skb, &p, &v);
	if (!why)
		why = decide(skb, &p, &v);
	if (is_forward(why) && (failed = forward(skb, &p, &v, &act)))
		why = failed;
	else if (is_answer(why))
		act = bpf_redirect(cfg_ifindex, 0);
	note(skb, &p, &v, why, 0);
	if (p.flags & PKT_PROBE)
		return arrived(skb, why);
	if (is_pass(why)) {
		/* The stack of the namespace knows nothing of the VLAN. */
		if (p.ours && why != LB_PASS_VLAN && pop_tags(skb, &p))
			return TC_ACT_SHOT;
		return TCX_NEXT;
	}
	return act;
}

/* back_port returns the port that the client knows a reply's source port by, 0 if
 * it is the same. */
static __always_inline __u16 back_port(const struct pkt *p, const struct blob *b,
				       const struct lb_header *h, __u32 vip)
{
	__u16 port;

	if (p->why || p->flags & (PKT_LATER | PKT_ECHO | PKT_ERROR))
		return 0;
	port = nat_find(b, h, vip, p->proto, NAT_BACK, p->sport);
	return port == p->sport ? 0 : port;
}

/* quote_back does to the packet that an ICMP error of the workload quotes what
 * replies undergo. */
static __always_inline int quote_back(struct __sk_buff *skb, struct pkt *p,
				      const struct blob *b,
				      const struct lb_header *h, __u32 vip)
{
	__u16 port;

	if (quote_parse(skb, p, QUOTE_BACK))
		return LB_NONE;
	port = nat_find(b, h, vip, p->proto, NAT_BACK, p->sport);
	if (!port)
		return LB_NONE;
	return set_quoted_port(skb, p, p->quote + 2, p->sport, port);
}

/* leg_mtu is the MTU of the leg that a reply came by: the MSS in a SYN is about
 * the segments that will go there. */
static __always_inline __u32 leg_mtu(struct __sk_buff *skb)
{
	__u32 mtu = 0;

	/* Whether this packet fits is not the question. */
	bpf_check_mtu(skb, 0, &mtu, 0, 0);
	return mtu;
}

static __always_inline int reply(struct __sk_buff *skb, struct pkt *p,
				 struct bpf_redir_neigh *hop, int *act)
{
	struct blob b;
	int why = parse(skb, p, 0);

	if (why)
		return why;
	if (p->kind > PKT_IPV6)
		return LB_PASS_REPLY;
	if (!open_blob(&b))
		return LB_DROP_INTERNAL;

	const struct lb_header *h = b.base;
	__u32 vip = prefix_find(&b, p, VIP_OF_SRC);

	if (!vip)
		return LB_PASS_REPLY;
	/* Other protocols of a VIP, ICMP and strange headers are replies as well. */
	if (p->why == LB_DROP_MALFORMED)
		return p->why;
	why = gateway(skb, p, hop);
	if (why != LB_REPLY_FORWARDED)
		return why;
	if (p->ttl <= 1) {
		punt_error(skb, p, LB_PUNT_TTL, 0, skb->ifindex);
		return LB_DROP_TTL;
	}

	__u16 port = back_port(p, &b, h, vip);

	if (h->mtu && p->ip_len > h->mtu) {
		struct link to = { .mtu = h->mtu, .port = port, .leg = skb->ifindex };

		if ((why = oversize(skb, p, &to)))
			return why;
	}
	if (port && (why = set_port(skb, p, p->l4, p->sport, port)))
		return why;
	if (p->flags & PKT_ERROR && (why = quote_back(skb, p, &b, h, vip)))
		return why;
	if (h->options & LB_OPTION_MSS_CLAMP &&
	    (why = clamp(skb, p, leg_mtu(skb))))
		return why;
	if (p->tags && (why = pop_tags(skb, p)))
		return why;
	if ((why = age(skb, p)))
		return why;
	*act = bpf_redirect_neigh(cfg_ifindex, hop, sizeof(*hop), 0);
	return LB_REPLY_FORWARDED;
}

static __always_inline void note_hop(struct __sk_buff *skb,
				     const struct bpf_redir_neigh *hop)
{
	int v4 = hop->nh_family == AF_INET_;

	skb->cb[CB_HOP] = v4 ? 0 : hop->ipv6_nh[0];
	skb->cb[CB_HOP + 1] = v4 ? 0 : hop->ipv6_nh[1];
	skb->cb[CB_HOP + 2] = v4 ? V4_MAPPED : hop->ipv6_nh[2];
	skb->cb[CB_HOP + 3] = v4 ? hop->ipv4_nh : hop->ipv6_nh[3];
}

SEC("tc")
int lb_reply(struct __sk_buff *skb)
{
	struct bpf_redir_neigh hop = {};
	struct verdict v = {};
	struct pkt p = {};
	int act = TC_ACT_SHOT, why;

	if (skb->mark == cfg_trace)
		p.flags = PKT_TRACE;
	why = reply(skb, &p, &hop, &act);
	note(skb, &p, &v, why, 1);
	if (why == LB_REPLY_FORWARDED)
		note_hop(skb, &hop);
	return is_pass(why) ? TC_ACT_UNSPEC : act;
}

/* lb_probe is never attached: a test run of it, with a probe's mark, sends the
 * frame into the external interface as if the wire had brought it. */
SEC("tc")
int lb_probe(struct __sk_buff *skb)
{
	return bpf_clone_redirect(skb, cfg_ifindex, BPF_F_INGRESS);
}

/* lb_egress gives what the stack and lb send the tag of the configured VLAN,
 * so that no VLAN device is needed above the external interface. */
SEC("tcx/egress")
int lb_egress(struct __sk_buff *skb)
{
	if (skb->vlan_present || skb->protocol == ETH_P_8021Q_N ||
	    skb->protocol == ETH_P_8021AD_N)
		return TCX_NEXT;
	if (bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), cfg_vlan))
		return TC_ACT_SHOT;
	return TCX_NEXT;
}
