// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * The load balancer: lb at the tcx ingress of the external interface, lb_reply
 * at the tc ingress of each leg (one shared filter block), lb_egress (only with
 * a VLAN) at the tcx egress of the external interface. bpf/README.md walks a
 * packet through.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include "lib/lb_types.h"
#include "lib/packet.h"
#include "lib/hash.h"
#include "lib/classify.h"
#include "lib/neigh.h"

#define TCX_NEXT -1
#define AF_INET  2
#define AF_INET6 10

/* Words of skb->cb where a test run finds how the decision was made. */
#define CB_REASON 0
#define CB_STREAM 1
#define CB_TARGET 2

char _license[] SEC("license") = "GPL";

/* Set by the owner before loading. */
const volatile __u32 cfg_blob_mask = 0xffff;   /* size of the blob - 1 */
const volatile __u32 cfg_table_size = 65537;   /* maximum slots of a table */
const volatile __u32 cfg_ifindex;              /* external interface */
const volatile __u16 cfg_vlan;                 /* its VLAN, 0: untagged */

struct rules_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u32);
	__uint(value_size, 0x10000 + 8); /* set by the owner */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct rules_map);
} lb_rules SEC(".maps");

/* Both halves of one stream's Maglev table: __u16[2][cfg_table_size]. */
struct ring_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__uint(value_size, 4 * 65537); /* set by the owner */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 64); /* set by the owner, as in lb_streams */
	__type(key, __u32);
	__array(values, struct ring_map);
} lb_rings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct lb_stream);
} lb_streams SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 128); /* set by the owner, as in lb_traffic */
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct lb_target);
} lb_targets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 128);
	__type(key, __u32);
	__type(value, struct lb_traffic);
} lb_traffic SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LB_REASONS);
	__type(key, enum lb_reason);
	__type(value, __u64);
} lb_stats SEC(".maps");

static __always_inline void count(struct __sk_buff *skb, __u32 reason)
{
	__u64 *n = bpf_map_lookup_elem(&lb_stats, &reason);

	skb->cb[CB_REASON] = reason;
	if (n)
		++*n;
}

static __always_inline int open_blob(struct blob *b)
{
	__u32 zero = 0;
	void *inner = bpf_map_lookup_elem(&lb_rules, &zero);

	b->mask = cfg_blob_mask;
	b->base = inner ? bpf_map_lookup_elem(inner, &zero) : 0;
	return b->base != 0;
}

/* pick_target walks stream -> table -> slot -> target. */
static __always_inline const struct lb_nexthop *
pick_target(__u32 stream, __u32 hash, __u32 *id)
{
	__u32 zero = 0, max = cfg_table_size;
	const __u64 *word = bpf_map_lookup_elem(&lb_streams, &stream);

	if (!word)
		return 0;
	__u64 now = *(const volatile __u64 *)word;
	__u32 size = now, slot = (now >> 32) + hash_pick(hash, size);
	void *ring = bpf_map_lookup_elem(&lb_rings, &stream);

	if (!size || !ring)
		return 0;
	const __u16 *slots = bpf_map_lookup_elem(ring, &zero);

	if (!slots || slot >= 2 * max)
		return 0;
	asm volatile("" : "+r"(slot));
	*id = slots[slot];
	const struct lb_target *target = bpf_map_lookup_elem(&lb_targets, id);

	if (!*id || !target)
		return 0;
	const struct lb_nexthop *hop = &target->hop[target->active & 1];

	return hop->ifindex ? hop : 0;
}

/* age takes one from the TTL or hop limit, and keeps the checksums right. */
static __always_inline int age(struct __sk_buff *skb, const struct pkt *p,
			       __u32 l3)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (p->ttl <= 1)
		return LB_DROP_TTL;
	if (p->kind == PKT_IPV4) {
		struct iphdr *ip = data + l3;

		if ((void *)(ip + 1) > end)
			return LB_DROP_INTERNAL;
		__u32 check = ip->check + bpf_htons(0x0100);

		ip->check = check + (check >= 0xffff);
		ip->ttl = p->ttl - 1;
	} else {
		struct ipv6hdr *ip = data + l3;

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

static __always_inline int forward(struct __sk_buff *skb, const struct pkt *p,
				   const struct lb_nexthop *hop, __u32 id,
				   int *act)
{
	__u32 len = skb->len;
	int why;

	if (p->tags && (why = pop_tags(skb, p)))
		return why;
	if ((why = age(skb, p, sizeof(struct ethhdr))))
		return why;

	struct ethhdr *eth = (void *)(long)skb->data;

	if ((void *)(eth + 1) > (void *)(long)skb->data_end)
		return LB_DROP_INTERNAL;
	copy12(eth, hop->dst);

	struct lb_traffic *t = bpf_map_lookup_elem(&lb_traffic, &id);

	if (t) {
		t->packets++;
		t->bytes += len;
	}
	*act = bpf_redirect_peer(hop->ifindex, 0);
	return LB_FORWARDED;
}

/* answer turns an ARP request or neighbour solicitation for a VIP round. */
static __always_inline int answer(struct __sk_buff *skb, const struct pkt *p,
				  const __u8 *mac, int *act)
{
	int why = p->kind == PKT_ARP ? arp_answer(skb, p, mac) :
				       nd_answer(skb, p, mac);

	if (why == LB_ARP_ANSWERED || why == LB_ND_ANSWERED)
		*act = bpf_redirect(cfg_ifindex, 0);
	return why;
}

/* decide is the one decision step; it returns the reason and sets the action
 * for what it sends away. */
static __always_inline int decide(struct __sk_buff *skb, struct pkt *p, int *act)
{
	struct blob b;
	int why = parse(skb, p, cfg_vlan);

	if (why)
		return why;
	if (skb->pkt_type == PACKET_OTHERHOST_ ||
	    (p->kind <= PKT_IPV6 && skb->pkt_type != PACKET_HOST_))
		return LB_PASS_NOT_HOST;
	if (!open_blob(&b))
		return LB_DROP_INTERNAL;

	const struct lb_header *h = b.base;
	__u32 vip = prefix_find(&b, &h->vips,
				p->kind == PKT_IPV4 || p->kind == PKT_ARP,
				p->dst[0], p->dst[1]);

	if (!vip)
		return p->kind == PKT_ARP ? LB_PASS_ARP : LB_PASS_NOT_VIP;
	if (p->kind > PKT_IPV6)
		return answer(skb, p, h->mac, act);
	if (p->why)
		return p->why;

	__u32 stream, id, hash = flow_hash(p);

	if (!classify(skb, &b, h, p, vip, &stream))
		return LB_DROP_NO_FLOW;
	skb->cb[CB_STREAM] = stream;

	const struct lb_nexthop *hop = pick_target(stream, hash, &id);

	if (!hop)
		return LB_DROP_NO_TARGET;
	skb->cb[CB_TARGET] = id;
	return forward(skb, p, hop, id, act);
}

static __always_inline int is_pass(int why)
{
	return why >= LB_PASS_NOT_IP && why <= LB_PASS_REPLY;
}

SEC("tcx/ingress")
int lb(struct __sk_buff *skb)
{
	struct pkt p = {};
	int act = TC_ACT_SHOT;
	int why = decide(skb, &p, &act);

	count(skb, why);
	if (is_pass(why)) {
		/* The stack of the namespace knows nothing of the VLAN. */
		if (p.ours && why != LB_PASS_VLAN && pop_tags(skb, &p))
			return TC_ACT_SHOT;
		return TCX_NEXT;
	}
	return act;
}

static __always_inline int reply(struct __sk_buff *skb, struct pkt *p, int *act)
{
	struct bpf_redir_neigh hop = {};
	struct blob b;
	int why = parse(skb, p, 0);

	if (why)
		return why;
	if (p->kind > PKT_IPV6)
		return LB_PASS_REPLY;
	if (!open_blob(&b))
		return LB_DROP_INTERNAL;

	const struct lb_header *h = b.base;
	int v4 = p->kind == PKT_IPV4;

	if (!prefix_find(&b, &h->vips, v4, p->src[0], p->src[1]))
		return LB_PASS_REPLY;
	/* Fragments, ICMP and other protocols of a VIP are replies as well. */
	if (p->why == LB_DROP_MALFORMED)
		return p->why;

	__u32 n = v4 ? h->n_gateways4 : h->n_gateways6;
	__u32 at = hash_pick(flow_hash(p), n);

	if (!n)
		return LB_DROP_NO_GATEWAY;
	if (v4) {
		hop.nh_family = AF_INET;
		hop.ipv4_nh = blob32(&b, h->gateways4 + at * 4);
	} else {
		at = h->gateways6 + at * sizeof(struct lb_mask);
		hop.nh_family = AF_INET6;
		*(__u64 *)&hop.ipv6_nh[0] = blob64(&b, at);
		*(__u64 *)&hop.ipv6_nh[2] = blob64(&b, at + 8);
	}
	if (p->tags && (why = pop_tags(skb, p)))
		return why;
	if ((why = age(skb, p, sizeof(struct ethhdr))))
		return why;
	*act = bpf_redirect_neigh(cfg_ifindex, &hop, sizeof(hop), 0);
	return LB_REPLY_FORWARDED;
}

SEC("tc")
int lb_reply(struct __sk_buff *skb)
{
	struct pkt p = {};
	int act = TC_ACT_SHOT;
	int why = reply(skb, &p, &act);

	count(skb, why);
	return is_pass(why) ? TC_ACT_UNSPEC : act;
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

