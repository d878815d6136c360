/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * From XDP to tcx on the same interface. XDP drops and answers, which is most of
 * what a flood needs; what is to be forwarded goes on with the decision in its
 * metadata, so that it is merged (GRO) before tcx rewrites and redirects it, in
 * whatever state of checksum offloading it is.
 */
#ifndef WEFT_HANDOVER_H
#define WEFT_HANDOVER_H

#include "decide.h"

/* In front of the frame; a multiple of 4 and at most 32 bytes. */
struct handover {
	__u32 secret; /* cfg_secret: nobody else's metadata looks like this */
	__u32 target;
	__u32 stream;
	__u32 flow;
	__u32 slot;
	__u16 port;
	__u16 reason;
};

const volatile __u32 cfg_secret; /* set by the owner; 0: no XDP program */

#ifndef LB_XDP
/* taken_over returns what XDP has decided about the frame, LB_NONE if nothing. */
static __always_inline int taken_over(FRAME *f, struct pkt *p,
				      struct verdict *v)
{
	const struct handover *m = (void *)(long)f->data_meta;
	__u8 flags = p->flags;
	struct blob b;
	int why;

	if (!cfg_secret || (void *)(m + 1) > frame_data(f) ||
	    m->secret != cfg_secret)
		return LB_NONE;
	v->target = m->target;
	v->stream = m->stream;
	v->flow = m->flow;
	v->slot = m->slot;
	v->port = m->port;
	why = m->reason;
	if (is_forward(why) && find_target(v) && open_blob(&b) &&
	    !parse(f, p, cfg_vlan)) {
		v->clamp = ((const struct lb_header *)b.base)->options &
			   LB_OPTION_MSS_CLAMP;
		return why;
	}
	/* As it was, so that the verifier sees one way into decide. */
	*p = (struct pkt){ .flags = flags };
	*v = (struct verdict){};
	return LB_NONE;
}
#endif

#endif
