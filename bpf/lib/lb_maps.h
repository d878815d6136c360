/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Configuration and maps of the load balancer; bpf/README.md has who writes what. */
#ifndef WEFT_LB_MAPS_H
#define WEFT_LB_MAPS_H

#include "frame.h"
#include "lb_types.h"

/* Set by the owner before loading. */
const volatile __u32 cfg_blob_mask = 0xffff;   /* size of the blob - 1 */
const volatile __u32 cfg_table_size = 65537;   /* maximum slots of a table */
const volatile __u32 cfg_ifindex;              /* external interface */
const volatile __u16 cfg_vlan;                 /* its VLAN, 0: untagged */
const volatile __u32 cfg_trace;                /* mark of test runs that leave no trace */
const volatile __u32 cfg_probe;                /* mark of probes, but for its last 8 bits */
const volatile __u32 cfg_affinity;             /* flows that stay with their target */
const volatile __u32 cfg_member_words = 1;     /* of lb_members, 64 targets each */

struct rules_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u32);
	__uint(value_size, 0x10000 + 8); /* set by the owner */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct rules_map);
} lb_rules SEC(".maps");

/* Both halves of one stream's Maglev table: __u16[2][cfg_table_size]. */
struct ring_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__uint(value_size, 4 * 65537); /* set by the owner */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 64); /* set by the owner, as in lb_streams */
	__type(key, __u32);
	__array(values, struct ring_map);
} lb_rings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct lb_stream);
} lb_streams SEC(".maps");

/* Who belongs to a stream, in its table or not: a bit per target. Only read for
 * flows that stay with their target. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__uint(value_size, 8); /* set by the owner */
} lb_members SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 128); /* set by the owner, as in lb_target_load */
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct lb_target);
} lb_targets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct lb_gateway);
} lb_gateways SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LB_PROBES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct lb_probe);
} lb_probes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 128);
	__type(key, __u32);
	__type(value, struct lb_traffic);
} lb_target_load SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct lb_traffic);
} lb_stream_load SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct lb_traffic);
} lb_flow_load SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LB_REASONS);
	__type(key, enum lb_reason);
	__type(value, __u64);
} lb_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 64);
	__type(key, struct lb_frag_key);
	__type(value, struct lb_frag);
} lb_frags SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 64);
	__type(key, struct lb_flow_key);
	__type(value, struct lb_pin);
} lb_pins SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct lb_control);
} lb_control SEC(".maps");

/* When the next of its kind may come (GCRA, ATM Forum TM 4.0): coarse ns. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LB_LIMITS);
	__type(key, enum lb_limit);
	__type(value, __u64);
} lb_limits SEC(".maps");

/* Where a record for the slow path is made: the stack has no room for it. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lb_punt);
} lb_scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} lb_punts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct lb_event);
} lb_events SEC(".maps");

static __always_inline struct lb_control *control(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&lb_control, &zero);
}

/* limited says that one more would be too many; each takes interval ns, and
 * burst of them may come at once. The clock ticks every few milliseconds. */
static __always_inline int limited(__u32 which, __u64 interval, __u32 burst)
{
	__u64 *next = bpf_map_lookup_elem(&lb_limits, &which);
	__u64 now = bpf_ktime_get_coarse_ns();

	if (!next)
		return 1;
	for (int i = 0; i < 3; i++) {
		__u64 was = *(volatile __u64 *)next, from = was;

		if (was > now + interval * burst)
			return 1;
		if (from < now)
			from = now;
		if (__sync_val_compare_and_swap(next, was, from + interval) == was)
			return 0;
	}
	return 1; /* others took it */
}

static __always_inline void add_load(void *map, __u32 key, __u32 bytes)
{
	struct lb_traffic *t = bpf_map_lookup_elem(map, &key);

	if (t) {
		t->packets++;
		t->bytes += bytes;
	}
}

#endif
