/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What differs between the hooks: a frame is an sk_buff at tcx and tc, a driver's
 * buffer at XDP. Everything else is written once, in terms of FRAME.
 */
#ifndef WEFT_FRAME_H
#define WEFT_FRAME_H

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define VLAN_VID_MASK 0x0fff

#ifdef LB_XDP
#define FRAME struct xdp_md

static __always_inline __u32 frame_len(FRAME *f)
{
	return bpf_xdp_get_buff_len(f);
}

/* A driver keeps the head of a frame together. */
static __always_inline int frame_pull(FRAME *f, __u32 len)
{
	return 0;
}

static __always_inline int frame_load(FRAME *f, __u32 at, void *to, __u32 len)
{
	return bpf_xdp_load_bytes(f, at, to, len);
}

static __always_inline int frame_store(FRAME *f, __u32 at, void *from, __u32 len)
{
	return bpf_xdp_store_bytes(f, at, from, len);
}

static __always_inline int frame_resize(FRAME *f, __u32 from, __u32 to)
{
	return bpf_xdp_adjust_tail(f, (int)to - (int)from);
}

/* No tag is in metadata, nothing is merged yet. */
static __always_inline int frame_tag(FRAME *f, __u16 *vid)
{
	return 0;
}

static __always_inline __u32 frame_segment(FRAME *f)
{
	return 0;
}
#else
#define FRAME struct __sk_buff

static __always_inline __u32 frame_len(FRAME *f)
{
	return f->len;
}

static __always_inline int frame_pull(FRAME *f, __u32 len)
{
	return bpf_skb_pull_data(f, len);
}

static __always_inline int frame_load(FRAME *f, __u32 at, void *to, __u32 len)
{
	return bpf_skb_load_bytes(f, at, to, len);
}

static __always_inline int frame_store(FRAME *f, __u32 at, void *from, __u32 len)
{
	return bpf_skb_store_bytes(f, at, from, len, 0);
}

static __always_inline int frame_resize(FRAME *f, __u32 from, __u32 to)
{
	return bpf_skb_change_tail(f, to, 0);
}

/* frame_tag says whether the frame had a tag that is now in its metadata. */
static __always_inline int frame_tag(FRAME *f, __u16 *vid)
{
	*vid = f->vlan_tci & VLAN_VID_MASK;
	return f->vlan_present;
}

/* frame_segment is the payload of one segment of a GSO packet, 0 for others. */
static __always_inline __u32 frame_segment(FRAME *f)
{
	return f->gso_size;
}
#endif

static __always_inline void *frame_data(FRAME *f)
{
	return (void *)(long)f->data;
}

static __always_inline void *frame_end(FRAME *f)
{
	return (void *)(long)f->data_end;
}

static __always_inline __u32 load32(const void *p)
{
	return *(const __u32 *)p;
}

static __always_inline __u16 load16(const void *p)
{
	return *(const __u16 *)p;
}

#endif
