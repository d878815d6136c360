/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Types that the lb program shares with its Go owner. */
#ifndef WEFT_LB_TYPES_H
#define WEFT_LB_TYPES_H

#include <linux/types.h>

/*
 * Why a packet left the program the way it did: the key of lb_stats. Every
 * packet counts exactly one. The groups stand together, see is_pass.
 */
enum lb_reason {
	LB_NONE, /* never counted: "go on" inside the program */

	/* the packet was sent somewhere */
	LB_FORWARDED,          /* to a target */
	LB_FRAGMENT_FORWARDED, /* a later fragment, to the target of the first */
	LB_ICMP_FORWARDED,     /* an error, to the target of the packet it quotes */
	LB_REPLY_FORWARDED,    /* from a target to a gateway */
	LB_ARP_ANSWERED,
	LB_ND_ANSWERED,
	LB_ECHO_ANSWERED,

	/* the slow path has it */
	LB_FRAGMENT_PARKED, /* a later fragment, until the first has come */
	LB_FRAGMENTED,      /* to be cut to the MTU of the next link */

	/* left to the stack of the namespace */
	LB_PASS_NOT_IP,     /* another ethertype */
	LB_PASS_VLAN,       /* another VLAN */
	LB_PASS_NOT_HOST,   /* link-layer destination is not this interface */
	LB_PASS_ARP,        /* ARP, but no request for a VIP */
	LB_PASS_NOT_VIP,    /* destination is no VIP */
	LB_PASS_REPLY,      /* from a leg, source is no VIP */

	/* dropped */
	LB_DROP_MALFORMED,
	LB_DROP_NO_FLOW,    /* no rule of the VIP matches */
	LB_DROP_NO_TARGET,  /* the stream has no target for this flow */
	LB_DROP_TTL,        /* TTL or hop limit used up */
	LB_DROP_TOO_BIG,    /* for the next link, and must not be cut */
	LB_DROP_FRAGMENT,   /* of a packet whose first fragment is not known */
	LB_DROP_ICMP,       /* neither echo nor about a packet of a target */
	LB_DROP_PROTOCOL,   /* neither TCP, UDP, SCTP nor ICMP */
	LB_DROP_EXTENSION,  /* too many or unknown IPv6 extension headers */
	LB_DROP_NAT,        /* an SCTP fragment whose port would be translated */
	LB_DROP_NO_GATEWAY, /* reply, but no gateway of its family */
	LB_DROP_NO_ROUTE,   /* reply, but the routing table has it go nowhere */
	LB_DROP_INTERNAL,   /* a map or helper refused what cannot be refused */

	LB_REASONS,
};

/* The current table of a stream, read and written as one 64-bit word, so that
 * a packet never sees the size of one table and the slots of another. */
struct lb_stream {
	__u32 size; /* slots; 0: no target */
	__u32 base; /* first slot: 0 or the maximum table size */
};

struct lb_nexthop {
	__u32 ifindex; /* 0: none */
	__u8 dst[6];   /* the target's MAC */
	__u8 src[6];   /* the leg's MAC */
	__u32 mtu;     /* longest IP packet, 0: unlimited */
};

/* One cache line. The owner writes the idle nexthop, then flips active. */
struct lb_target {
	__u32 active;
	struct lb_nexthop hop[2];
	__u8 pad[20];
};

struct lb_traffic {
	__u64 packets;
	__u64 bytes;
};

/* A packet of which there are fragments. */
struct lb_frag_key {
	__u64 src[2];
	__u64 dst[2];
	__u32 id;
	__u32 proto; /* IPv4 only: in IPv6 the id is enough (RFC 8200) */
};

/* What became of its first fragment. */
struct lb_frag {
	__u64 time; /* coarse monotonic clock, in ns */
	__u32 stream;
	__u32 flow;
	__u32 target;
	__u32 reason; /* LB_FORWARDED, LB_ECHO_ANSWERED or a drop */
};

/* A flow that stays with its target. */
struct lb_flow_key {
	__u64 src[2];
	__u64 dst[2];
	__u32 ports;
	__u32 proto; /* index */
};

struct lb_pin {
	__u32 stream;
	__u32 target;
};

/* What is handed to the slow path, followed by bytes of the frame. */
enum lb_punt_kind {
	LB_PUNT_NONE,
	LB_PUNT_TTL,     /* answer with ICMP time exceeded */
	LB_PUNT_TOO_BIG, /* answer with ICMP fragmentation needed */
	LB_PUNT_CUT,     /* cut it and send it on */
	LB_PUNT_PARK,    /* keep it until the first fragment has come */
	LB_PUNT_RELEASE, /* the first fragment has come */
};

struct lb_punt {
	struct lb_frag_key key;
	__u32 len;    /* of the whole frame */
	__u32 leg;    /* ifindex, of replies */
	__u32 target;
	__u32 mtu;
	__u32 port;   /* what the port is to become, network order; 0: unchanged */
	enum lb_punt_kind kind;
	__u16 l3;
	__u8 reply;
	__u8 gso;     /* the frame stands for several */
	__u8 pad[4];
};

/* A decision, for who watches. */
struct lb_event {
	__u64 time; /* coarse monotonic clock, in ns */
	__u64 src[2];
	__u64 dst[2];
	__u32 len;
	__u32 stream;
	__u32 flow;
	__u32 target;
	__u16 sport;
	__u16 dport;
	__u8 proto;
	__u8 reason;
	__u8 reply;
	__u8 family; /* enum pkt_kind */
};

/* What the owner changes while packets flow. */
struct lb_control {
	__u32 waiting; /* the slow path waits for first fragments */
	__u32 remembered; /* first fragments; written by the program */
	__u32 observe; /* somebody watches; the rest says what */
	__u32 pad0;
	__u64 interval; /* between events, in ns */
	__u64 src[2];
	__u64 src_mask[2];
	__u64 dst[2];
	__u64 dst_mask[2];
	__u64 reasons; /* bit per enum lb_reason */
	__u32 sample;  /* one of so many packets */
	__u16 port;    /* of either side, 0: any */
	__u8 proto;    /* 0: any */
	__u8 pad;
};

/* Gateways of one IP version's packets. Each slot has the index of a hop: a
 * flow's is always the same, whatever becomes of the hops of others. */
#define LB_GATEWAYS      64
#define LB_GATEWAY_SHIFT 20 /* slot of a hash */
#define LB_GATEWAY_SLOTS (1 << (32 - LB_GATEWAY_SHIFT))

struct lb_hop {
	__u64 hi; /* as loaded from network order; IPv4 is v4-mapped */
	__u64 lo;
};

struct lb_ways {
	struct lb_hop hops[LB_GATEWAYS];
	__u8 slots[LB_GATEWAY_SLOTS];
};

struct lb_routing {
	__u32 table; /* of the kernel's, looked at first; 0: none */
	__u32 n[2];  /* hops of ways */
	__u32 pad;
	struct lb_ways ways[2]; /* of IPv4 and of IPv6 packets */
};

/* The owner writes the idle half, then flips active. */
struct lb_gateway {
	__u32 active;
	__u32 pad;
	struct lb_routing half[2];
};

/* A frame that the owner sent into the external interface, and what became of
 * it: the lowest bits of its mark are the index. */
#define LB_PROBES 256

struct lb_probe {
	__u64 nonce; /* of the frame that is expected, 0: none */
	__u64 seen;  /* nonce of the one that was decided on; written last */
	__u32 reason;
	__u32 stream;
	__u32 flow;
	__u32 target;
};

/* Rates that the program keeps to: the index of lb_limits. */
enum lb_limit {
	LB_LIMIT_ERRORS, /* ICMP errors, packets to cut */
	LB_LIMIT_PARK,
	LB_LIMIT_EVENTS,
	LB_LIMITS,
};

/*
 * The rule blob: one value of lb_rules' inner map, immutable once published.
 * Written by internal/classify; every offset counts bytes from the start of
 * the blob. The reader masks offsets instead of trusting them.
 */

/* A set of address prefixes: a list of distinct prefix lengths, longest first,
 * and one open-addressed hash table over (index of the length, prefix). */
struct lb_prefixes {
	__u64 seed;
	__u32 table;
	__u32 shift; /* 64 - log2(number of slots) */
	__u32 masks; /* struct lb_mask[n4 + n6] */
	__u16 n4;
	__u16 n6;
};

struct lb_mask {
	__u64 hi; /* as loaded from network order */
	__u64 lo;
};

struct lb_slot {
	__u64 hi;
	__u64 lo;
	__u16 tag;   /* index of the length + 1; 0: empty slot */
	__u16 nat;   /* VIP: number of its translations, 0: none */
	__u32 value; /* source: class; VIP: offset of its rule words; NAT: port */
	__u32 first; /* VIP: index of its first rule word */
	__u32 count; /* VIP: number of its rule words, then of its streams */
};

/* Fields that some rule constrains; others are not looked up. */
#define LB_FIELD_SRC   1
#define LB_FIELD_SPORT 2
#define LB_FIELD_DPORT 4

struct lb_header {
	__u32 fields;
	__u32 row_bytes;  /* a row: summary words, then rule words */
	__u32 row_sums;   /* bytes of the summary words */
	__u32 src_rows;
	__u32 sport_rows;
	__u32 dport_rows;
	__u32 proto_rows; /* TCP, UDP, SCTP */
	__u32 src4_trie;  /* root node, see LB_TRIE_CHILD */
	__u32 sport_table;
	__u32 dport_table;
	__u32 rules;      /* struct lb_rule per bit */
	__u32 options;    /* LB_OPTION_... */
	struct lb_prefixes vips;
	struct lb_prefixes src6;
	struct lb_prefixes nats; /* keys by nat_key, whole length only */
	__u8 mac[6];      /* of the external interface */
	__u16 mtu;        /* of the external interface, 0: unlimited */
};

_Static_assert(sizeof(struct lb_header) == 128, "internal/classify HeaderSize");

#define LB_OPTION_MSS_CLAMP 1

/* Trie node: __u32[256]; an entry is a class, or this bit and a node offset. */
#define LB_TRIE_CHILD 0x80000000u

struct lb_rule {
	__u32 stream;
	__u32 match; /* offset of struct lb_match[], 0: none */
	__u32 flow;
	__u32 port;  /* destination port for the target, network order; 0: as it is */
};

/* Raw bytes of the L4 header, compared in network order. */
struct lb_match {
	__u32 mask;
	__u32 value;
	__u8 proto; /* index: TCP, UDP, SCTP */
	__u8 offset;
	__u8 width; /* 1, 2, 4 */
	__u8 last;
};

#endif
