/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The Internet checksum (RFC 1071), over values as loaded from network order. */
#ifndef WEFT_SUM_H
#define WEFT_SUM_H

#include "frame.h"

static __always_inline __u16 sum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline __u64 sum_add8(__u64 sum, const void *p)
{
	return sum + load32(p) + load32(p + 4);
}

/* sum_change is a checksum field after 16 bits that it covers have changed: RFC
 * 1624, equation 3. */
static __always_inline __u16 sum_change(__u16 check, __u16 from, __u16 to)
{
	return sum_fold((__u64)(__u16)~check + (__u16)~from + to);
}

#endif
