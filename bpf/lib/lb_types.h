/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Types that the lb program shares with its Go owner. */
#ifndef WEFT_LB_TYPES_H
#define WEFT_LB_TYPES_H

#include <linux/types.h>

/*
 * Why a packet left the program the way it did: the key of lb_stats. Every
 * return path counts exactly one. The order is the wire format between the
 * object file and the Go owner: append only.
 */
enum lb_reason {
	LB_NONE, /* never counted: "go on" inside the program */

	/* the packet was sent somewhere */
	LB_FORWARDED,       /* to a target */
	LB_REPLY_FORWARDED, /* from a target to a gateway */
	LB_ARP_ANSWERED,
	LB_ND_ANSWERED,

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
	LB_DROP_FRAGMENT,
	LB_DROP_ICMP,
	LB_DROP_PROTOCOL,   /* neither TCP, UDP nor SCTP */
	LB_DROP_EXTENSION,  /* too many or unknown IPv6 extension headers */
	LB_DROP_NO_GATEWAY, /* reply, but no gateway of its family */
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
};

/* One cache line. The owner writes the idle nexthop, then flips active. */
struct lb_target {
	__u32 active;
	__u32 pad;
	struct lb_nexthop hop[2];
	__u8 pad2[24];
};

struct lb_traffic {
	__u64 packets;
	__u64 bytes;
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
	__u32 tag;   /* index of the length + 1; 0: empty slot */
	__u32 value; /* source: class; VIP: offset of its rule words */
	__u32 first; /* VIP: index of its first rule word */
	__u32 count; /* VIP: number of its rule words */
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
	__u32 gateways4;  /* __u32[] */
	__u32 gateways6;  /* struct lb_mask[] */
	__u16 n_gateways4;
	__u16 n_gateways6;
	struct lb_prefixes vips;
	struct lb_prefixes src6;
	__u8 mac[6];      /* of the external interface */
	__u8 pad[2];
};

_Static_assert(sizeof(struct lb_header) == 112, "internal/classify HeaderSize");

/* Trie node: __u32[256]; an entry is a class, or this bit and a node offset. */
#define LB_TRIE_CHILD 0x80000000u

struct lb_rule {
	__u32 stream;
	__u32 match; /* offset of struct lb_match[], 0: none */
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
