/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the steps of a decision fill in. */
#ifndef WEFT_VERDICT_H
#define WEFT_VERDICT_H

#include "lb_types.h"

/* A decision to forward, and how it was made. */
struct verdict {
	const struct lb_nexthop *hop;
	__u32 stream;
	__u32 flow;
	__u32 slot;
	__u32 target;
	__u32 port; /* destination port for the target; 0: as it is */
	__u32 clamp; /* lower the MSS option of SYNs */
};

#endif
