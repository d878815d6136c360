/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The cross-connect's maps, and how a frame's way ends. */
#ifndef WEFT_XC_MAPS_H
#define WEFT_XC_MAPS_H

#include <linux/if_packet.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>

#include "xc_types.h"

/* A change of what these hold, or of enum reason, needs another layout number
 * in pkg/dataplane/xconnect/pin.go, and a migration. */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u32); /* ifindex of the outer end */
	__type(value, struct port);
} xc_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct tunnel_key);
	__type(value, struct tunnel);
} xc_tunnels SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, struct peer_key);
	__type(value, struct peer);
} xc_peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASON_COUNT);
	__type(key, enum reason);
	__type(value, __u64);
} xc_counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
	__type(value, struct control);
} xc_control SEC(".maps");

static __always_inline void count(enum reason reason)
{
	__u64 *counter = bpf_map_lookup_elem(&xc_counters, &reason);

	if (counter)
		(*counter)++;
}

/* decided tells a test run the decision; on the wire nobody reads it. */
static __always_inline void decided(struct __sk_buff *skb, enum reason reason, __u32 ifindex, __u32 vni)
{
	skb->cb[0] = ifindex;
	skb->cb[1] = reason;
	skb->cb[2] = vni;
	count(reason);
}

/* finish ends the way of a frame that goes nowhere (any more). */
static __always_inline int finish(struct __sk_buff *skb, enum reason reason)
{
	decided(skb, reason, 0, 0);
	return TC_ACT_SHOT;
}

static __always_inline int to_port(struct __sk_buff *skb, enum reason reason, __u32 ifindex)
{
	/* The interface that it came in by has judged the frame by its own MAC,
	 * which is nobody's destination; the receiver would refuse it as somebody
	 * else's. */
	if (skb->pkt_type == PACKET_OTHERHOST)
		bpf_skb_change_type(skb, PACKET_HOST);
	decided(skb, reason, ifindex, 0);
	return bpf_redirect_peer(ifindex, 0);
}

static __always_inline int is_control(const __u8 *ethertype)
{
	return ethertype[0] == CONTROL_ETHERTYPE >> 8 && ethertype[1] == (CONTROL_ETHERTYPE & 0xff);
}

#endif
