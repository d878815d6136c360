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
 * (bpf_redirect_peer); the outer end's own stack never sees them.
 */

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

#define MAX_LEGS 64
#define READ_ONCE(x) (*(volatile typeof(x) *)&(x))

enum reason {
	REASON_TO_CLIENT,    /* endpoint port: to its client port */
	REASON_ONLY_LEG,     /* client port: to its only leg */
	REASON_ANYCAST,      /* client port: gateway MAC, leg by hash, MAC rewritten */
	REASON_LEG_MAC,      /* client port: to the leg with that MAC */
	REASON_GROUP,        /* client port: multicast or broadcast, leg by hash */
	REASON_NO_PORT,      /* drop: no entry for the ingress interface */
	REASON_NO_LEG,       /* drop: client port without a live leg */
	REASON_UNKNOWN_MAC,  /* drop: no leg has the destination MAC */
	REASON_TOO_SHORT,    /* drop: no whole Ethernet header */
	REASON_STALE,        /* drop: the entry was replaced while being read, twice */
	REASON_REWRITE,      /* drop: the MAC could not be written */
	REASON_COUNT,
};

enum port_kind {
	PORT_CLIENT = 1,
	PORT_ENDPOINT = 2,
};

struct leg {
	__u32 ifindex; /* outer end */
	__u8 mac[ETH_ALEN]; /* inner end */
	__u16 flags; /* none yet */
};

struct port {
	/* A hash element that is replaced is reused at once for another entry,
	 * while a program may still read it. Both fields are therefore checked
	 * again after everything else has been read. */
	__u32 ifindex; /* the key */
	__u32 generation; /* unique per write */
	__u32 client; /* PORT_ENDPOINT: outer end of its client port */
	/* PORT_ENDPOINT: mark of its frames. It survives bpf_redirect_peer and
	 * tells the workload's policy rules by which of its interfaces a request
	 * came, when two networks use the same VIP. */
	__u32 mark;
	enum port_kind kind;
	__u32 leg_count;
	__u32 local_count; /* the first ones of legs; they are preferred */
	struct leg legs[MAX_LEGS];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u32); /* ifindex of the outer end */
	__type(value, struct port);
} xc_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASON_COUNT);
	__type(key, enum reason);
	__type(value, __u64);
} xc_counters SEC(".maps");

/* The gateway's MAC on every workload interface; set before load. */
const volatile __u8 gateway_mac[ETH_ALEN] = { 0x02, 0x57, 0x45, 0x46, 0x54, 0x01 };

static __always_inline void count(enum reason reason)
{
	__u64 *counter = bpf_map_lookup_elem(&xc_counters, &reason);

	if (counter)
		(*counter)++;
}

static __always_inline int drop(struct __sk_buff *skb, enum reason reason)
{
	skb->cb[0] = 0;
	skb->cb[1] = reason;
	count(reason);
	return TC_ACT_SHOT;
}

/* cb tells a test run the decision; on the wire nobody reads it. */
static __always_inline int redirect(struct __sk_buff *skb, enum reason reason, __u32 ifindex)
{
	/* The outer end has judged the frame by its own MAC, which is nobody's
	 * destination; the receiver would refuse it as somebody else's. */
	if (skb->pkt_type == PACKET_OTHERHOST)
		bpf_skb_change_type(skb, PACKET_HOST);
	skb->cb[0] = ifindex;
	skb->cb[1] = reason;
	count(reason);
	return bpf_redirect_peer(ifindex, 0);
}

static __always_inline int same_mac(const __u8 *a, const volatile __u8 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] &&
	       a[3] == b[3] && a[4] == b[4] && a[5] == b[5];
}

/* Where a frame goes; the decision is made from one consistent entry. */
struct decision {
	enum reason reason;
	__u32 ifindex; /* 0: drop */
	__u32 mark; /* for REASON_TO_CLIENT */
	__u8 mac[ETH_ALEN]; /* for REASON_ANYCAST */
	__u16 pad;
};

static __always_inline void by_hash(struct __sk_buff *skb, const struct port *port, __u32 n,
				    struct decision *d)
{
	__u32 choice;

	if (port->local_count && port->local_count < n)
		n = port->local_count;
	choice = ((__u64)bpf_get_hash_recalc(skb) * n) >> 32;
	if (choice >= MAX_LEGS)
		return;
	d->ifindex = port->legs[choice].ifindex;
	__builtin_memcpy(d->mac, port->legs[choice].mac, ETH_ALEN);
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
			d->ifindex = port->legs[i].ifindex;
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

	d->ifindex = 0;
	if (!port) {
		d->reason = REASON_NO_PORT;
		return 1;
	}
	generation = READ_ONCE(port->generation);
	n = READ_ONCE(port->leg_count);
	if (port->kind == PORT_ENDPOINT) {
		d->reason = REASON_TO_CLIENT;
		d->ifindex = READ_ONCE(port->client);
		d->mark = READ_ONCE(port->mark);
	} else if (n == 0) {
		d->reason = REASON_NO_LEG;
	} else if (n == 1) {
		d->reason = REASON_ONLY_LEG;
		d->ifindex = READ_ONCE(port->legs[0].ifindex);
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
	__u8 dst[ETH_ALEN];

	if (data + ETH_HLEN > end)
		return drop(skb, REASON_TOO_SHORT);
	__builtin_memcpy(dst, data, ETH_ALEN);

	if (!decide(skb, skb->ingress_ifindex, dst, &d) &&
	    !decide(skb, skb->ingress_ifindex, dst, &d))
		return drop(skb, REASON_STALE);
	if (!d.ifindex)
		return drop(skb, d.reason);
	if (d.reason == REASON_TO_CLIENT)
		skb->mark = d.mark;
	/* A helper writes, not the program: direct writes would make the
	 * verifier add a prologue that copies cloned packets, on every path. */
	if (d.reason == REASON_ANYCAST && bpf_skb_store_bytes(skb, 0, d.mac, ETH_ALEN, 0))
		return drop(skb, REASON_REWRITE);
	return redirect(skb, d.reason, d.ifindex);
}

char LICENSE[] SEC("license") = "GPL";
