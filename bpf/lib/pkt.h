/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What a parsed packet is, and the headers that it is read from. */
#ifndef WEFT_PKT_H
#define WEFT_PKT_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include "frame.h"
#include "lb_types.h"

#define PKT_MAX_HEADERS 256 /* bytes made linear before parsing */
#define PKT_MAX_EXT     8   /* extension headers walked */

#define IPPROTO_SCTP_   132
#define V4_MAPPED       0xffff0000ull /* bytes 8 to 11 of ::ffff:0:0/96 */

#define ETH_P_8021Q_N   0x0081
#define ETH_P_8021AD_N  0xa888
#define ETH_P_IP_N      0x0008
#define ETH_P_IPV6_N    0xdd86
#define ETH_P_ARP_N     0x0608

#define PACKET_HOST_      0
#define PACKET_OTHERHOST_ 3

#define ND_SOLICIT 135
#define ND_ADVERT  136

enum pkt_kind { PKT_IPV4, PKT_IPV6, PKT_ARP, PKT_ND };

/* Index of the protocols that have ports, as in rules. */
enum pkt_proto { PKT_TCP, PKT_UDP, PKT_SCTP };

/* What makes a packet one of the rare ones. */
#define PKT_FIRST 1 /* a fragment with the transport header */
#define PKT_LATER 2 /* a fragment without it */
#define PKT_ECHO  4 /* ICMP echo request */
#define PKT_ERROR 8 /* ICMP error */
#define PKT_RARE  15
#define PKT_DF    16 /* must not be cut */
#define PKT_TRACE 32 /* a test run that must leave no trace */
#define PKT_PROBE 64 /* the owner's, and nobody's to receive; a trace as well */

/* Addresses and ports stay as loaded from network order; an IPv4 address is
 * v4-mapped in the second word. */
struct pkt {
	__u64 src[2];
	__u64 dst[2];   /* ARP and ND: the address asked for */
	__u16 sport;
	__u16 dport;
	__u16 l3;       /* offset of the network header */
	__u16 l4;       /* offset of the transport header */
	__u32 l4_len;   /* bytes of IP payload after the extension headers */
	__u32 ip_len;   /* bytes from the network header on */
	__u32 frag_id;
	__u16 quote;    /* offset of the transport header that an error quotes */
	__u8 ip_proto;  /* protocol field of the IP header or of the last extension */
	__u8 frag_proto; /* for the key of fragments */
	__u8 kind;      /* enum pkt_kind */
	__u8 proto;     /* enum pkt_proto */
	__u8 ttl;
	__u8 tags;      /* VLAN tags, wherever they are */
	__u8 ours;      /* carries the configured VLAN's tag */
	__u8 why;       /* enum lb_reason: why it cannot be forwarded, LB_NONE if it can */
	__u8 flags;     /* PKT_... */
	__u8 pad;
};

struct vlan_tag {
	__be16 tci;
	__be16 proto;
};

struct arp_frame {
	__be16 htype;
	__be16 ptype;
	__u8 hlen;
	__u8 plen;
	__be16 op;
	__u8 sha[6];
	__u8 sip[4];
	__u8 tha[6];
	__u8 tip[4];
};

struct icmp6_head {
	__u8 type;
	__u8 code;
	__u16 check;
	__u32 flags;
};

/* Unaligned, as packets are: memcpy would copy byte by byte. */
static __always_inline void copy12(void *to, const void *from)
{
	*(volatile __u64 *)to = *(const __u64 *)from;
	*(volatile __u32 *)(to + 8) = *(const __u32 *)(from + 8);
}

/* In words, as they are read back: narrower stores would stall the load. */
static __always_inline void copy16(__u64 *to, const void *from)
{
	to[0] = *(const __u64 *)from;
	to[1] = *(const __u64 *)(from + 8);
}

static __always_inline __u64 mapped(__u32 addr)
{
	return V4_MAPPED | (__u64)addr << 32;
}

#endif
