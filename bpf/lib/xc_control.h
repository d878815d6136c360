/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Control frames between nodes. Probes are answered and replies noted here, so
 * that a node whose processes are dead or starved is alive as long as it
 * forwards, and so that the time of a reply is that of its arrival.
 */
#ifndef WEFT_XC_CONTROL_H
#define WEFT_XC_CONTROL_H

#include "xc_tunnel.h"

static __always_inline struct peer *peer_of(const struct tunnel_key *from)
{
	struct peer_key key = { .device = from->device };

	__builtin_memcpy(key.remote, from->remote, 16);
	return bpf_map_lookup_elem(&xc_peers, &key);
}

/* answer sends a probe back, with its nonce. */
static __always_inline int answer(struct __sk_buff *skb, const struct tunnel_key *from, struct leg *back)
{
	__u8 macs[2 * ETH_ALEN], type = CONTROL_PROBE_REPLY;

	if (!peer_of(from))
		return finish(skb, REASON_BAD_CONTROL);
	if (bpf_skb_load_bytes(skb, 0, macs, ETH_ALEN) ||
	    bpf_skb_load_bytes(skb, ETH_ALEN, macs + ETH_ALEN, ETH_ALEN) ||
	    bpf_skb_store_bytes(skb, ETH_ALEN, macs, ETH_ALEN, 0) ||
	    bpf_skb_store_bytes(skb, 0, macs + ETH_ALEN, ETH_ALEN, 0) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN + __builtin_offsetof(struct control_frame, type),
				&type, sizeof(type), BPF_F_RECOMPUTE_CSUM))
		return finish(skb, REASON_REWRITE);
	back->ifindex = from->device;
	back->vni = from->vni;
	__builtin_memcpy(back->remote, from->remote, 16);
	return to_tunnel(skb, REASON_PROBE, back);
}

static __always_inline int note(struct __sk_buff *skb, const struct tunnel_key *from, __u64 nonce)
{
	struct peer *peer = peer_of(from);

	if (!peer)
		return finish(skb, REASON_BAD_CONTROL);
	peer->nonce = nonce;
	peer->at = bpf_ktime_get_ns();
	return finish(skb, REASON_PROBE_REPLY);
}

/* tell passes a state or its acknowledgement on to user space. */
static __always_inline int tell(struct __sk_buff *skb, const struct tunnel_key *from,
				const struct control_frame *frame)
{
	struct control *event;

	if (!bpf_map_lookup_elem(&xc_tunnels, from))
		return finish(skb, REASON_BAD_CONTROL);
	event = bpf_ringbuf_reserve(&xc_control, sizeof(*event), 0);
	if (!event)
		return finish(skb, REASON_CONTROL_FULL);
	event->key = *from;
	event->type = frame->type;
	event->flags = frame->flags;
	__builtin_memset(event->pad, 0, sizeof(event->pad));
	event->nonce = bpf_be64_to_cpu(frame->nonce);
	bpf_ringbuf_submit(event, 0);
	return finish(skb, REASON_CONTROL);
}

static __always_inline int control(struct __sk_buff *skb, const struct tunnel_key *from, struct leg *back)
{
	struct control_frame frame;

	/* No node of ours sends them with a VLAN tag. */
	if (skb->vlan_present || bpf_skb_load_bytes(skb, ETH_HLEN, &frame, sizeof(frame)) ||
	    frame.magic != bpf_htonl(CONTROL_MAGIC) || frame.version != CONTROL_VERSION)
		return finish(skb, REASON_BAD_CONTROL);
	if (from->vni == CONTROL_VNI) {
		if (frame.type == CONTROL_PROBE)
			return answer(skb, from, back);
		if (frame.type == CONTROL_PROBE_REPLY)
			return note(skb, from, bpf_be64_to_cpu(frame.nonce));
	} else if (frame.type == CONTROL_STATE || frame.type == CONTROL_STATE_ACK) {
		return tell(skb, from, &frame);
	}
	return finish(skb, REASON_BAD_CONTROL);
}

#endif
