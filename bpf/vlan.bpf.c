// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

/*
 * vlan: joins the veths of frontends with VLANs of a node's base interfaces,
 * without a VLAN device. The ports (outer ends) of one VLAN and the wire behind
 * the base interface are like the ports of a bridge whose MACs are all known.
 *
 * vl_port: tc ingress of the outer ends (one shared filter block).
 *
 *   MAC of a port of the VLAN -> that port
 *   group                     -> all other ports of the VLAN, and the wire
 *   any other                 -> the wire
 *
 * vl_base: tcx ingress of a base interface.
 *
 *   no port in the frame's VLAN -> the host
 *   MAC of a port               -> that port
 *   group                       -> all ports of the VLAN, untagged: and the host
 *   any other                   -> untagged: the host, else nobody
 */

#include <linux/if_packet.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>

#include "lib/vl_types.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct port);
} vl_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct station_key);
	__type(value, struct station);
} vl_stations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct group_key);
	__type(value, struct group);
} vl_groups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASON_COUNT);
	__type(key, enum reason);
	__type(value, __u64);
} vl_counters SEC(".maps");

/* decided counts the frame and tells a test run the decision; on the wire nobody
 * reads it. */
static __always_inline void decided(struct __sk_buff *skb, enum reason reason, __u32 ifindex, __u32 copies)
{
	__u64 *counter = bpf_map_lookup_elem(&vl_counters, &reason);

	if (counter)
		(*counter)++;
	skb->cb[0] = ifindex;
	skb->cb[1] = reason;
	skb->cb[2] = copies;
	skb->cb[3] = skb->vlan_present ? 1 << 16 | skb->vlan_tci : 0;
}

static __always_inline int drop(struct __sk_buff *skb, enum reason reason)
{
	decided(skb, reason, 0, 0);
	return TC_ACT_SHOT;
}

/* pass leaves the frame to the next program, and to the host. */
static __always_inline int pass(struct __sk_buff *skb, enum reason reason)
{
	decided(skb, reason, 0, 0);
	return TC_ACT_UNSPEC;
}

static __always_inline int same_station(const struct station_key *a, const struct station_key *b)
{
	const __u32 *x = (const __u32 *)a, *y = (const __u32 *)b;

	return READ_ONCE(x[0]) == y[0] && READ_ONCE(x[1]) == y[1] && READ_ONCE(x[2]) == y[2];
}

/* station finds the port of a MAC: 0 is none, -1 an entry that was replaced. */
static __always_inline long look(const struct station_key *key)
{
	const struct station *s = bpf_map_lookup_elem(&vl_stations, key);
	__u32 generation, ifindex;

	if (!s)
		return 0;
	generation = READ_ONCE(s->generation);
	ifindex = READ_ONCE(s->ifindex);
	if (!same_station(&s->key, key) || READ_ONCE(s->generation) != generation)
		return -1;
	return ifindex;
}

static __always_inline long station(const struct station_key *key)
{
	long found = look(key);

	return found < 0 ? look(key) : found;
}

static __always_inline int to_port(struct __sk_buff *skb, enum reason reason, __u32 ifindex, __u32 copies)
{
	/* The interface that it came in by has judged it by its own MAC. */
	if (skb->pkt_type == PACKET_OTHERHOST)
		bpf_skb_change_type(skb, PACKET_HOST);
	skb->mark = 0;
	decided(skb, reason, ifindex, copies);
	return bpf_redirect_peer(ifindex, 0);
}

/* copy_members returns how many there are, -1 when the entry was replaced. They
 * are copied before any is used: a frame must not meet those of two VLANs. */
static __always_inline long copy_members(const struct group_key *key, __u32 *members)
{
	const struct group *g = bpf_map_lookup_elem(&vl_groups, key);
	__u32 generation, count, i;

	if (!g)
		return 0;
	generation = READ_ONCE(g->generation);
	count = READ_ONCE(g->count);
	for (i = 0; i < MAX_MEMBERS; i++)
		members[i] = READ_ONCE(g->members[i]);
	if (READ_ONCE(g->key.base) != key->base || READ_ONCE(g->key.vlan) != key->vlan ||
	    READ_ONCE(g->generation) != generation)
		return -1;
	return count;
}

struct flooding {
	struct __sk_buff *skb;
	__u32 except;
	__u32 copies;
	__u32 members[MAX_MEMBERS];
};

static long copy_to(__u64 i, struct flooding *f)
{
	__u32 member;

	if (i >= MAX_MEMBERS)
		return 1;
	member = f->members[i];
	if (member == f->except)
		return 0;
	bpf_clone_redirect(f->skb, member, 0);
	f->copies++;
	return 0;
}

/* flood sends copies to all members but one, and returns how many; -1 when the
 * entry was replaced, twice. */
static __noinline long flood(struct __sk_buff *skb, __u32 base, __u32 vlan, __u32 except)
{
	struct group_key key = { .base = base, .vlan = vlan };
	struct flooding f = { .skb = skb, .except = except };
	long count = copy_members(&key, f.members);

	if (count < 0)
		count = copy_members(&key, f.members);
	if (count < 0)
		return -1;
	bpf_loop(count, copy_to, &f, 0);
	return f.copies;
}

static __always_inline int in_frame(__be16 proto)
{
	return proto == bpf_htons(ETH_P_8021Q) || proto == bpf_htons(ETH_P_8021AD);
}

/* tag returns the frame's VLAN: 0 untagged (or a priority tag), -1 a service tag,
 * which is none of ours, -2 no whole header. The eth header is copied. */
static __always_inline int tag(struct __sk_buff *skb, struct ethhdr *eth)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;

	if (data + ETH_HLEN > end)
		return -2;
	__builtin_memcpy(eth, data, ETH_HLEN);
	if (skb->vlan_present)
		return skb->vlan_proto == bpf_htons(ETH_P_8021Q) ? (int)(skb->vlan_tci & VID_MASK) : -1;
	if (!in_frame(eth->h_proto))
		return 0;
	if (eth->h_proto == bpf_htons(ETH_P_8021AD))
		return -1;
	if (data + ETH_HLEN + 4 > end)
		return -2;
	return bpf_ntohs(*(__be16 *)(data + ETH_HLEN)) & VID_MASK;
}

static __always_inline int has_tag(struct __sk_buff *skb, const struct ethhdr *eth)
{
	return skb->vlan_present || in_frame(eth->h_proto);
}

static __always_inline int from_port(struct __sk_buff *skb, struct port *p)
{
	const struct port *entry;
	__u32 self = skb->ingress_ifindex;

	entry = bpf_map_lookup_elem(&vl_ports, &self);
	if (!entry)
		return 0;
	p->generation = READ_ONCE(entry->generation);
	p->base = READ_ONCE(entry->base);
	p->vlan = READ_ONCE(entry->vlan);
	if (READ_ONCE(entry->ifindex) != self || READ_ONCE(entry->generation) != p->generation)
		return -1;
	return 1;
}

SEC("tc")
int vl_port(struct __sk_buff *skb)
{
	struct station_key to = {};
	struct port p = {};
	struct ethhdr eth = {};
	enum reason reason = REASON_TO_WIRE;
	long found, copies = 0;
	int vid = tag(skb, &eth);

	if (vid == -2)
		return drop(skb, REASON_TOO_SHORT);
	found = from_port(skb, &p);
	if (found < 0)
		found = from_port(skb, &p);
	if (found <= 0)
		return drop(skb, found ? REASON_STALE : REASON_NO_PORT);
	if (!p.vlan && vid)
		return drop(skb, REASON_TAGGED);
	if (eth.h_dest[0] & 1) {
		copies = flood(skb, p.base, p.vlan, skb->ingress_ifindex);
		if (copies < 0)
			return drop(skb, REASON_STALE);
		reason = REASON_FLOOD_OUT;
	} else {
		to.base = p.base;
		to.vlan = p.vlan;
		__builtin_memcpy(to.mac, eth.h_dest, ETH_ALEN);
		found = station(&to);
		if (found < 0)
			return drop(skb, REASON_STALE);
		if (found)
			return to_port(skb, REASON_TO_SIBLING, found, 0);
	}
	if (p.vlan && bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), p.vlan))
		return drop(skb, REASON_REWRITE);
	decided(skb, reason, p.base, copies);
	return bpf_redirect(p.base, 0);
}

/* flood_in takes a group frame from the wire to the ports of its VLAN. */
static __always_inline int flood_in(struct __sk_buff *skb, struct station_key *key)
{
	long copies;

	copies = flood(skb, key->base, key->vlan, 0);
	if (copies < 0)
		return drop(skb, REASON_STALE);
	decided(skb, REASON_FLOOD_IN, 0, copies);
	/* Untagged: the host is one of those who listen. */
	return key->vlan ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

SEC("tc")
int vl_base(struct __sk_buff *skb)
{
	struct station_key key = {};
	struct group_key group = {};
	struct ethhdr eth = {};
	int vid = tag(skb, &eth);
	long found;

	if (vid < 0)
		return pass(skb, REASON_PASS_VLAN);
	group.base = key.base = skb->ingress_ifindex;
	group.vlan = key.vlan = vid;
	if (!bpf_map_lookup_elem(&vl_groups, &group))
		return pass(skb, REASON_PASS_VLAN);
	if (eth.h_dest[0] & 1) {
		__builtin_memcpy(key.mac, eth.h_source, ETH_ALEN);
		found = station(&key);
		if (found)
			return drop(skb, found < 0 ? REASON_STALE : REASON_LOOPED);
		if (has_tag(skb, &eth) && bpf_skb_vlan_pop(skb))
			return drop(skb, REASON_REWRITE);
		return flood_in(skb, &key);
	}
	__builtin_memcpy(key.mac, eth.h_dest, ETH_ALEN);
	found = station(&key);
	if (found < 0)
		return drop(skb, REASON_STALE);
	if (!found)
		return vid ? drop(skb, REASON_UNKNOWN_MAC) : pass(skb, REASON_PASS_HOST);
	if (has_tag(skb, &eth) && bpf_skb_vlan_pop(skb))
		return drop(skb, REASON_REWRITE);
	return to_port(skb, REASON_TO_PORT, found, 0);
}

char LICENSE[] SEC("license") = "GPL";
