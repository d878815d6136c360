/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the cross-connect's maps hold. Addresses are 16 bytes in network order,
 * IPv4 ones v4-mapped. */
#ifndef WEFT_XC_TYPES_H
#define WEFT_XC_TYPES_H

#include <linux/bpf.h>
#include <linux/if_ether.h>

#include <bpf/bpf_helpers.h>

#define MAX_LEGS 64
#define READ_ONCE(x) (*(volatile typeof(x) *)&(x))

/* New ones come last: counters outlive the program. */
enum reason {
	REASON_TO_CLIENT,    /* endpoint port: to its client port, here or behind a tunnel */
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
	REASON_FROM_TUNNEL,  /* tunnel: to its port */
	REASON_PROBE,        /* control: answered */
	REASON_PROBE_REPLY,  /* control: noted with the peer */
	REASON_CONTROL,      /* control: told to user space */
	REASON_NO_TUNNEL,    /* drop: no entry for device, sender and VNI */
	REASON_ENCAP,        /* drop: the kernel refused the tunnel key */
	REASON_BAD_CONTROL,  /* drop: control frame that nobody may send so */
	REASON_CONTROL_FULL, /* drop: user space does not read its control frames */
	REASON_COUNT,
};

enum port_kind {
	PORT_CLIENT = 1,
	PORT_ENDPOINT = 2,
};

#define LEG_TUNNEL 1
#define LEG_IPV6   2 /* of the underlay */

struct leg {
	__u32 ifindex; /* outer end; LEG_TUNNEL: the VXLAN device */
	__u8 mac[ETH_ALEN]; /* inner end */
	__u16 flags;
	/* LEG_TUNNEL */
	__u32 vni;
	__u32 pad;
	__u8 local[16];
	__u8 remote[16];
};

struct port {
	/* A hash element that is replaced is reused at once for another entry,
	 * while a program may still read it. Both fields are therefore checked
	 * again after everything else has been read. */
	__u32 ifindex; /* the key */
	__u32 generation; /* unique per write */
	/* PORT_ENDPOINT: mark of its frames. It survives bpf_redirect_peer and
	 * tells the workload's policy rules by which of its interfaces a request
	 * came, when two networks use the same VIP. */
	__u32 mark;
	enum port_kind kind;
	__u32 leg_count; /* PORT_ENDPOINT: 1, the way to its client */
	__u32 local_count; /* the first ones of legs; they are preferred */
	struct leg legs[MAX_LEGS];
};

struct tunnel_key {
	__u32 device; /* ifindex */
	__u32 vni;
	__u8 remote[16];
};

struct tunnel {
	struct tunnel_key key; /* as in struct port: for the second look */
	__u32 generation;
	__u32 ifindex; /* outer end of the port */
	__u32 mark;
	__u8 owner[16]; /* for user space */
};

struct peer_key {
	__u32 device; /* ifindex */
	__u8 remote[16];
};

struct peer {
	__u64 at; /* bpf_ktime_get_ns of the last reply to a probe, 0: none */
	__u64 nonce; /* of that probe */
};

#define CONTROL_VNI       0xfffffe /* of probes and their replies */
#define CONTROL_ETHERTYPE 0x88b5 /* IEEE 802, local experimental */
#define CONTROL_MAGIC     0x57454654 /* "WEFT" */
#define CONTROL_VERSION   1

enum control_type {
	CONTROL_PROBE = 1,
	CONTROL_PROBE_REPLY = 2,
	CONTROL_STATE = 3,
	CONTROL_STATE_ACK = 4,
};

/* A control frame, as told to user space. */
struct control {
	struct tunnel_key key;
	enum control_type type;
	__u8 flags;
	__u8 pad[3];
	__u64 nonce;
};

/* After the Ethernet header, in network order. */
struct control_frame {
	__be32 magic;
	__u8 version;
	__u8 type;
	__u8 flags;
	__u8 pad;
	__be64 nonce;
};

#endif
