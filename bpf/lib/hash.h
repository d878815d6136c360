/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The flow hash. internal/packet has the same in Go; tests compare both. */
#ifndef WEFT_HASH_H
#define WEFT_HASH_H

#include "packet.h"

#define HASH_SEED 0x9e3779b97f4a7c15ull
#define HASH_MUL1 0xbf58476d1ce4e5b9ull
#define HASH_MUL2 0x94d049bb133111ebull

static __always_inline __u64 hash_mix(__u64 h, __u64 word)
{
	h = (h ^ word) * HASH_MUL1;
	return h ^ h >> 32;
}

/*
 * flow_hash mixes the 5-tuple, one multiplication per word (IPv4 is two words
 * of input, IPv6 five), and finishes with the last rounds of splitmix64, so
 * that the upper half, which is returned, depends on every input bit.
 */
static __always_inline __u32 flow_hash(const struct pkt *p)
{
	__u64 h = HASH_SEED;
	__u64 ports = p->sport | (__u32)p->dport << 16 | (__u64)p->proto << 32;

	if (p->kind == PKT_IPV4) {
		h = hash_mix(h, p->src[1] >> 32 | (p->dst[1] >> 32) << 32);
	} else {
		h = hash_mix(h, p->src[0]);
		h = hash_mix(h, p->src[1]);
		h = hash_mix(h, p->dst[0]);
		h = hash_mix(h, p->dst[1]);
	}
	h = hash_mix(h, ports) * HASH_MUL2;
	return (h ^ h >> 31) >> 32;
}

/* hash_pick maps a hash to 0..n-1 without a division. */
static __always_inline __u32 hash_pick(__u32 hash, __u32 n)
{
	return (__u64)hash * n >> 32;
}

#endif
