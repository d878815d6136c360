/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the maps of the VLAN programs hold. */
#ifndef WEFT_VL_TYPES_H
#define WEFT_VL_TYPES_H

#include <linux/bpf.h>
#include <linux/if_ether.h>

#include <bpf/bpf_helpers.h>

#define MAX_MEMBERS 64 /* of one VLAN of one base interface; bounds a flood */
#define VID_MASK    0x0fff
#define READ_ONCE(x) (*(volatile typeof(x) *)&(x))

/* New ones come last: counters outlive the program. */
enum reason {
	REASON_TO_WIRE,     /* port: to the base interface, with the VLAN's tag */
	REASON_TO_SIBLING,  /* port: to another one of the VLAN */
	REASON_FLOOD_OUT,   /* port: group, to the base interface and all others of the VLAN */
	REASON_TO_PORT,     /* base: to the port with that MAC, without the tag */
	REASON_FLOOD_IN,    /* base: group, to all ports of the VLAN (untagged: and the host) */
	REASON_PASS_VLAN,   /* base: left to the host, no port has that VLAN */
	REASON_PASS_HOST,   /* base: untagged, left to the host, no port has that MAC */
	REASON_TOO_SHORT,   /* drop: no whole Ethernet header */
	REASON_NO_PORT,     /* drop: no entry for the ingress interface */
	REASON_TAGGED,      /* drop: an untagged port's frame that would enter a VLAN */
	REASON_UNKNOWN_MAC, /* drop: in a VLAN of ours, and no port has that MAC */
	REASON_LOOPED,      /* drop: a port's own group frame that came back */
	REASON_STALE,       /* drop: an entry was replaced while it was read, twice */
	REASON_REWRITE,     /* drop: the tag could not be pushed or popped */
	REASON_COUNT,
};

/* A hash element that is replaced is reused at once for another entry, while a
 * program may still read it. So each entry has its key in it, and a generation
 * that is unique per write; both are checked again after the rest was read. */

struct port {
	__u32 ifindex; /* the key: outer end of the veth */
	__u32 generation;
	__u32 base; /* ifindex */
	__u16 vlan; /* 0: untagged */
	__u8 mac[ETH_ALEN]; /* of the inner end, for user space */
};

struct station_key {
	__u32 base;
	__u16 vlan;
	__u8 mac[ETH_ALEN];
};

struct station {
	struct station_key key;
	__u32 generation;
	__u32 ifindex; /* outer end */
};

struct group_key {
	__u32 base;
	__u32 vlan;
};

struct group {
	struct group_key key;
	__u32 generation;
	__u32 count;
	__u32 members[MAX_MEMBERS]; /* outer ends */
};

#endif
