/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Lookups in the rule blob, see lb_types.h and internal/classify. */
#ifndef WEFT_CLASSIFY_H
#define WEFT_CLASSIFY_H

#include "packet.h"

#define CLASSIFY_LENGTHS 129 /* prefix lengths of one family */
#define CLASSIFY_PROBES  4   /* the compiler makes its tables keep to this */
#define CLASSIFY_STEPS   (1 << 15)

/* The map value has 8 bytes after the last offset that the mask lets pass. */
struct blob {
	const void *base;
	__u32 mask;
};

static __always_inline const void *blob_at(const struct blob *b, __u32 off)
{
	off &= b->mask;
	asm volatile("" : "+r"(off)); /* keep the bound that the verifier saw */
	return b->base + off;
}

static __always_inline __u64 blob64(const struct blob *b, __u32 off)
{
	return *(const __u64 *)blob_at(b, off);
}

static __always_inline __u32 blob32(const struct blob *b, __u32 off)
{
	return *(const __u32 *)blob_at(b, off);
}

static __always_inline __u16 blob16(const struct blob *b, __u32 off)
{
	return *(const __u16 *)blob_at(b, off);
}

static const __u8 lowest_bit[64] = {
	0,  1,  2,  53, 3,  7,  54, 27, 4,  38, 41, 8,  34, 55, 48, 28,
	62, 5,  39, 46, 44, 42, 22, 9,  24, 35, 59, 56, 49, 18, 29, 11,
	63, 52, 6,  26, 37, 40, 33, 47, 61, 45, 43, 21, 23, 58, 17, 10,
	51, 25, 36, 32, 60, 20, 57, 16, 50, 31, 19, 15, 30, 14, 13, 12,
};

/* BPF has no instruction for it; a de Bruijn multiplication is the shortest. */
static __always_inline __u32 ctz64(__u64 v)
{
	return lowest_bit[((v & -v) * 0x022fdd63cc95386dull) >> 58];
}

/* prefix_find returns the offset of the slot with the longest prefix of addr
 * (hi, lo), or 0. */
static __always_inline __u32 prefix_find(const struct blob *b,
					 const struct lb_prefixes *set,
					 int v4, __u64 hi, __u64 lo)
{
	__u32 i = v4 ? 0 : set->n4;
	__u32 n = v4 ? set->n4 : set->n6;
	__u32 masks = set->masks + i * sizeof(struct lb_mask);
	__u32 table = set->table, shift = set->shift & 63;
	__u64 seed = set->seed;

	for (int k = 0; k < CLASSIFY_LENGTHS; k++) {
		if (k >= n)
			break;
		__u32 tag = i + k + 1;
		__u64 h = hi & blob64(b, masks + k * sizeof(struct lb_mask));
		__u64 l = lo & blob64(b, masks + k * sizeof(struct lb_mask) + 8);
		__u32 at = ((h * HASH_MUL1 ^ l) + tag) * seed >> shift;

		for (int probe = 0; probe < CLASSIFY_PROBES; probe++) {
			__u32 slot = table + (at + probe) * sizeof(struct lb_slot);
			__u32 have = blob32(b, slot + 16);

			if (!have)
				break;
			if (have == tag && blob64(b, slot) == h &&
			    blob64(b, slot + 8) == l)
				return slot;
		}
	}
	return 0;
}

static __always_inline __u32 trie_find(const struct blob *b, __u32 root,
				       __u32 addr)
{
	__u32 e = root;

	for (int i = 0; i < 4; i++) {
		e = blob32(b, e + (addr & 0xff) * 4);
		if (!(e & LB_TRIE_CHILD))
			break;
		e &= ~LB_TRIE_CHILD;
		addr >>= 8;
	}
	return e;
}

/* Two levels: the high byte of the port chooses a page, shared where equal. */
static __always_inline __u32 port_find(const struct blob *b, __u32 table,
				       __u16 port)
{
	__u32 page = blob32(b, table + (port & 0xff) * 4);

	return blob16(b, page + (port >> 8) * 2);
}

/* Row offsets of the packet's classes; 0: the field takes no part. */
struct search {
	struct blob b;
	struct __sk_buff *skb;
	const struct pkt *p;
	__u32 src, sport, dport, proto;
	__u32 sums;    /* bytes of the summaries in a row */
	__u32 vip;     /* the VIP's rule words; its summaries end there */
	__u32 first;   /* index of its first word */
	__u32 last;
	__u32 rules;
	__u32 sum_at;  /* next summary word */
	__u64 sum;     /* candidates left in the current one */
	__u32 sum_base;
	__u32 word_base;
	__u64 word;
	__u32 stream;
	__u32 found;
};

/* rows_and is the conjunction of the field rows at byte offset off. */
static __always_inline __u64 rows_and(const struct search *s, __u64 v, __u32 off)
{
	if (s->src)
		v &= blob64(&s->b, s->src + off);
	if (s->sport)
		v &= blob64(&s->b, s->sport + off);
	if (s->dport)
		v &= blob64(&s->b, s->dport + off);
	if (s->proto)
		v &= blob64(&s->b, s->proto + off);
	return v;
}

static __always_inline int match_one(struct search *s, __u32 at)
{
	__u32 mask = blob32(&s->b, at), want = blob32(&s->b, at + 4);
	__u32 how = blob32(&s->b, at + 8), have = 0;
	__u32 off = s->p->l4 + (how >> 8 & 0xff);

	if ((how & 0xff) != s->p->proto)
		return 1; /* speaks about another protocol */
	switch (how >> 16 & 0xff) {
	case 1:
		if (bpf_skb_load_bytes(s->skb, off, &have, 1))
			return 0;
		break;
	case 2:
		if (bpf_skb_load_bytes(s->skb, off, &have, 2))
			return 0;
		break;
	default:
		if (bpf_skb_load_bytes(s->skb, off, &have, 4))
			return 0;
	}
	return (have & mask) == want;
}

#define MATCH_MAX 16 /* per rule */

static __always_inline int matches(struct search *s, __u32 at)
{
	for (int i = 0; i < MATCH_MAX; i++) {
		if (!match_one(s, at))
			return 0;
		if (blob32(&s->b, at + 8) >> 24)
			break;
		at += sizeof(struct lb_match);
	}
	return 1;
}

/* search_step looks at one candidate rule; 1 ends the search. */
static long search_step(__u32 i, struct search *s)
{
	if (!s->word) {
		if (!s->sum) {
			__u32 at = s->sum_at++, end = s->last / 64;

			if (at > end)
				return 1;
			__u32 own = s->vip - (end - at + 1) * 8;

			s->sum = rows_and(s, blob64(&s->b, own), at * 8);
			s->sum_base = at * 64;
			if (!s->sum)
				return 0;
		}
		__u32 w = s->sum_base + ctz64(s->sum);

		s->sum &= s->sum - 1;
		s->word = rows_and(s, blob64(&s->b, s->vip + (w - s->first) * 8),
				   s->sums + w * 8);
		s->word_base = w * 64;
		if (!s->word)
			return 0;
	}
	__u32 rule = s->rules +
		     (s->word_base + ctz64(s->word)) * sizeof(struct lb_rule);

	s->word &= s->word - 1;
	__u32 match = blob32(&s->b, rule + 4);

	if (match && !matches(s, match))
		return 0;
	s->stream = blob32(&s->b, rule);
	s->found = 1;
	return 1;
}

/* classify finds the first rule of the VIP in slot that matches p. */
static __always_inline int classify(struct search *s, const struct lb_header *h,
				    __u32 slot)
{
	const struct pkt *p = s->p;
	__u32 fields = h->fields, row = h->row_bytes;

	s->rules = h->rules;
	s->sums = h->row_sums;
	s->vip = blob32(&s->b, slot + 20);
	s->first = blob32(&s->b, slot + 24);
	__u32 count = blob32(&s->b, slot + 28);

	if (!count)
		return 0;
	if (fields & LB_FIELD_SRC) {
		__u32 class = 0;

		if (p->kind == PKT_IPV4) {
			class = trie_find(&s->b, h->src4_trie, p->src[1] >> 32);
		} else {
			__u32 at = prefix_find(&s->b, &h->src6, 0, p->src[0],
					       p->src[1]);
			if (at)
				class = blob32(&s->b, at + 20);
		}
		s->src = h->src_rows + class * row;
	}
	if (fields & LB_FIELD_SPORT)
		s->sport = h->sport_rows +
			   port_find(&s->b, h->sport_table, p->sport) * row;
	if (fields & LB_FIELD_DPORT)
		s->dport = h->dport_rows +
			   port_find(&s->b, h->dport_table, p->dport) * row;
	if (fields & LB_FIELD_PROTO)
		s->proto = h->proto_rows + p->proto * row;

	if (count == 1) {
		s->word = rows_and(s, blob64(&s->b, s->vip),
				   s->sums + s->first * 8);
		if (!s->word)
			return 0;
		__u32 rule = s->rules + (s->first * 64 + ctz64(s->word)) *
						sizeof(struct lb_rule);
		if (!blob32(&s->b, rule + 4)) {
			s->stream = blob32(&s->b, rule);
			return 1;
		}
		s->word_base = s->first * 64;
		s->sum_at = 1; /* no other word */
		s->last = 0;
	} else {
		s->last = s->first + count - 1;
		s->sum_at = s->first / 64;
	}
	bpf_loop(CLASSIFY_STEPS, search_step, s, 0);
	return s->found;
}

#endif
