// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

/*
 * xconnect: the node's cross-connect, on the tc ingress of the outer end of
 * every veth that the forwarder makes (one shared filter block, see
 * bpf/README.md for why not tcx). One map entry per outer end says where its
 * frames go; changing it is one atomic map write.
 *
 *   endpoint port -> its client port
 *   client port   -> its leg, or, with several legs, by destination MAC:
 *                    the gateway's (anycast) or a group: a leg by flow hash,
 *                    a leg's own: that leg
 *
 * Frames go straight to the inner end in the other namespace
 * (bpf_redirect_peer); the outer end's own stack never sees them. What is on
 * another node is behind a tunnel: the frame gets a tunnel key and goes to the
 * node's VXLAN device.
 *
 * xc_tunnel: the other end of that, on the ingress of the VXLAN device.
 *
 *   device, sender, VNI -> a port
 */

#include "lib/xc_control.h"

/* The gateway's MAC on every workload interface; set before load. */
const volatile __u8 gateway_mac[ETH_ALEN] = { 0x02, 0x57, 0x45, 0x46, 0x54, 0x01 };

static __always_inline int same_mac(const __u8 *a, const volatile __u8 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] &&
	       a[3] == b[3] && a[4] == b[4] && a[5] == b[5];
}

/* Where a frame goes; the decision is made from one consistent entry. */
struct decision {
	enum reason reason;
	__u32 mark; /* for REASON_TO_CLIENT */
	struct leg leg; /* ifindex 0: drop */
};

/* take copies of a leg what its kind needs. */
static __always_inline void take(struct decision *d, const struct leg *leg)
{
	d->leg.ifindex = READ_ONCE(leg->ifindex);
	d->leg.flags = leg->flags;
	__builtin_memcpy(d->leg.mac, leg->mac, ETH_ALEN);
	if (!(d->leg.flags & LEG_TUNNEL))
		return;
	d->leg.vni = leg->vni;
	__builtin_memcpy(d->leg.local, leg->local, sizeof(leg->local));
	__builtin_memcpy(d->leg.remote, leg->remote, sizeof(leg->remote));
}

static __always_inline void by_hash(struct __sk_buff *skb, const struct port *port, __u32 n,
				    struct decision *d)
{
	__u32 choice;

	if (port->local_count && port->local_count < n)
		n = port->local_count;
	choice = ((__u64)bpf_get_hash_recalc(skb) * n) >> 32;
	if (choice >= MAX_LEGS)
		return;
	take(d, &port->legs[choice]);
}

static __always_inline void among_legs(struct __sk_buff *skb, const struct port *port, __u32 n,
				       const __u8 *dst, struct decision *d)
{
	__u32 i;

	if (same_mac(dst, gateway_mac)) {
		d->reason = REASON_ANYCAST;
		by_hash(skb, port, n, d);
		return;
	}
	if (dst[0] & 1) {
		d->reason = REASON_GROUP;
		by_hash(skb, port, n, d);
		return;
	}
	for (i = 0; i < MAX_LEGS; i++) {
		if (i >= n)
			break;
		if (same_mac(dst, port->legs[i].mac)) {
			d->reason = REASON_LEG_MAC;
			take(d, &port->legs[i]);
			return;
		}
	}
	d->reason = REASON_UNKNOWN_MAC;
}

static __always_inline int decide(struct __sk_buff *skb, __u32 self, const __u8 *dst,
				  struct decision *d)
{
	const struct port *port = bpf_map_lookup_elem(&xc_ports, &self);
	__u32 generation, n;

	d->leg.ifindex = 0;
	if (!port) {
		d->reason = REASON_NO_PORT;
		return 1;
	}
	generation = READ_ONCE(port->generation);
	n = READ_ONCE(port->leg_count);
	if (port->kind == PORT_ENDPOINT) {
		d->reason = REASON_TO_CLIENT;
		d->mark = READ_ONCE(port->mark);
		take(d, &port->legs[0]);
	} else if (n == 0) {
		d->reason = REASON_NO_LEG;
	} else if (n == 1) {
		d->reason = REASON_ONLY_LEG;
		take(d, &port->legs[0]);
	} else {
		among_legs(skb, port, n, dst, d);
	}
	return READ_ONCE(port->ifindex) == self && READ_ONCE(port->generation) == generation;
}

SEC("tc")
int xconnect(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	struct decision d = {};
	struct ethhdr eth;

	if (data + ETH_HLEN > end)
		return finish(skb, REASON_TOO_SHORT);
	__builtin_memcpy(&eth, data, ETH_HLEN);

	if (!decide(skb, skb->ingress_ifindex, eth.h_dest, &d) &&
	    !decide(skb, skb->ingress_ifindex, eth.h_dest, &d))
		return finish(skb, REASON_STALE);
	if (!d.leg.ifindex)
		return finish(skb, d.reason);
	/* A helper writes, not the program: direct writes would make the
	 * verifier add a prologue that copies cloned packets, on every path. */
	if (d.reason == REASON_ANYCAST && bpf_skb_store_bytes(skb, 0, d.leg.mac, ETH_ALEN, 0))
		return finish(skb, REASON_REWRITE);
	if (d.leg.flags & LEG_TUNNEL) {
		/* Else a workload could speak for its node. */
		if (is_control((__u8 *)&eth.h_proto))
			return finish(skb, REASON_BAD_CONTROL);
		return to_tunnel(skb, d.reason, &d.leg);
	}
	if (d.reason == REASON_TO_CLIENT)
		skb->mark = d.mark;
	return to_port(skb, d.reason, d.leg.ifindex);
}

SEC("tc")
int xc_tunnel(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	struct tunnel_key from = {};
	struct leg back = {};
	__u8 ethertype[2];

	if (data + ETH_HLEN > end)
		return finish(skb, REASON_TOO_SHORT);
	__builtin_memcpy(ethertype, data + 2 * ETH_ALEN, sizeof(ethertype));
	if (!sender(skb, &from, &back))
		return finish(skb, REASON_NO_TUNNEL);
	if (is_control(ethertype))
		return control(skb, &from, &back);
	return from_tunnel(skb, &from);
}

char LICENSE[] SEC("license") = "GPL";
