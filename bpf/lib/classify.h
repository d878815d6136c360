/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Lookups in the rule blob, see lb_types.h and internal/classify. */
#ifndef WEFT_CLASSIFY_H
#define WEFT_CLASSIFY_H

#include "hash.h"
#include "lb_maps.h"
#include "packet.h"

#define CLASSIFY_LENGTHS 129 /* prefix lengths of one family */
#define CLASSIFY_PROBES  4   /* the compiler makes its tables keep to this */
#define CLASSIFY_STEPS   (1 << 20) /* more than rules and byte matches */

/* The map value has 8 bytes after the last offset that the mask lets pass. */
struct blob {
	const void *base;
	__u32 mask;
};

static __always_inline const void *blob_at(const struct blob *b, __u32 off)
{
	__u64 o = off & b->mask;

	asm volatile("" : "+r"(o)); /* keep the bound that the verifier saw */
	return b->base + o;
}

/* open_blob finds the rules in force. */
static __always_inline int open_blob(struct blob *b)
{
	__u32 zero = 0;
	void *inner = bpf_map_lookup_elem(&lb_rules, &zero);

	b->mask = cfg_blob_mask;
	b->base = inner ? bpf_map_lookup_elem(inner, &zero) : 0;
	return b->base != 0;
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

/* take_lowest clears the lowest bit of *v and returns its index. For the
 * verifier, exclusive or leaves no trace of what *v was, while v & (v - 1)
 * narrows its range with every iteration of a loop, which then never ends. */
static __always_inline __u32 take_lowest(__u64 *v)
{
	__u32 bit = ctz64(*v);

	*v ^= *v & -*v;
	return bit;
}

/* A search for the longest prefix of an address; small, see TestFrames. */
struct find {
	struct blob b;
	__u64 hi, lo; /* the address */
	__u64 seed;
	__u32 table;
	__u32 masks;
	__u32 slot;   /* the result, 0: none */
	__u16 tag;    /* of the next length */
	__u8 end;     /* last tag */
	__u8 shift;
};

/* find_length looks for a prefix of one length; 1 if it is there. */
static __always_inline long find_length(struct find *f)
{
	const struct blob *b = &f->b;
	__u32 tag = f->tag++;
	__u32 mask = f->masks + tag * sizeof(struct lb_mask);
	__u64 hi = f->hi & blob64(b, mask), lo = f->lo & blob64(b, mask + 8);
	__u32 at = ((hi * HASH_MUL1 ^ lo) + tag) * f->seed >> f->shift;

	for (int probe = 0; probe < CLASSIFY_PROBES; probe++) {
		__u32 slot = f->table + (at + probe) * sizeof(struct lb_slot);
		__u32 have = blob16(b, slot + 16);

		if (!have)
			break;
		if (have == tag && blob64(b, slot) == hi &&
		    blob64(b, slot + 8) == lo) {
			f->slot = slot;
			return 1;
		}
	}
	return 0;
}

static long find_step(__u32 i, struct find *f)
{
	return f->tag > f->end || find_length(f);
}

/* What is looked up: an address of the packet in one of the sets. */
enum prefix_set { VIP_OF_DST, VIP_OF_SRC, CLASS_OF_SRC6 };

static __always_inline void find_begin(struct find *f, const struct blob *b,
				       const struct pkt *p,
				       enum prefix_set which)
{
	const struct lb_header *h = b->base;
	const struct lb_prefixes *set =
		which == CLASS_OF_SRC6 ? &h->src6 : &h->vips;
	const __u64 *addr = which == VIP_OF_DST ? p->dst : p->src;
	int v4 = p->kind == PKT_IPV4 || p->kind == PKT_ARP;
	__u32 first = v4 ? 0 : set->n4;

	*f = (struct find){
		.b = *b, .hi = addr[0], .lo = addr[1], .seed = set->seed,
		.shift = set->shift & 63, .table = set->table,
		.masks = set->masks - sizeof(struct lb_mask), .tag = first + 1,
		.end = first + (v4 ? set->n4 : set->n6),
	};
}

/* find_on goes on after the first two lengths. It begins anew because the stack
 * of its caller has no room for a struct find. */
static __noinline __u32 find_on(const struct pkt *p, enum prefix_set which)
{
	struct find f;

	if (!p || !open_blob(&f.b))
		return 0;
	find_begin(&f, &f.b, p, which);
	f.tag += 2;
	bpf_loop(CLASSIFY_LENGTHS, find_step, &f, 0);
	return f.slot;
}

/* prefix_find returns the offset of the slot with the longest prefix of an
 * address, or 0. */
static __always_inline __u32 prefix_find(const struct blob *b,
					 const struct pkt *p,
					 enum prefix_set which)
{
	struct find f;

	find_begin(&f, b, p, which);
	/* Hardly anybody has more than two. */
	for (int k = 0; k < 2; k++) {
		if (f.tag > f.end || find_length(&f))
			return f.slot;
	}
	return f.tag > f.end ? 0 : find_on(p, which);
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

/* Row offsets of the packet's classes. A field that no rule constrains has one
 * row, of all rules: no branches, for the processor and for the verifier. */
struct rows {
	__u32 src, sport, dport, proto;
};

/* rows_and is the conjunction of v and the rows' words at byte offset off. */
static __always_inline __u64 rows_and(const struct blob *b,
				      const struct rows *r, __u64 v, __u32 off)
{
	return v & blob64(b, r->src + off) & blob64(b, r->sport + off) &
	       blob64(b, r->dport + off) & blob64(b, r->proto + off);
}

/* rows_of looks the classes of the packet up. */
static __always_inline void rows_of(const struct blob *b,
				    const struct lb_header *h,
				    const struct pkt *p, struct rows *r)
{
	__u32 fields = h->fields, row = h->row_bytes;
	__u32 src = 0, sport = 0, dport = 0;

	if (fields & LB_FIELD_SRC) {
		if (p->kind == PKT_IPV4) {
			src = trie_find(b, h->src4_trie, p->src[1] >> 32);
		} else {
			src = prefix_find(b, p, CLASS_OF_SRC6);
			if (src)
				src = blob32(b, src + 20);
		}
	}
	if (fields & LB_FIELD_SPORT)
		sport = port_find(b, h->sport_table, p->sport);
	if (fields & LB_FIELD_DPORT)
		dport = port_find(b, h->dport_table, p->dport);
	r->src = h->src_rows + src * row;
	r->sport = h->sport_rows + sport * row;
	r->dport = h->dport_rows + dport * row;
	r->proto = h->proto_rows + p->proto * row;
}

/* A walk over the candidate rules, in the order of precedence. */
struct search {
	struct blob b;
	struct rows rows;
	FRAME *frame;
	const struct pkt *p;
	__u32 sums;     /* bytes of the summaries in a row */
	__u32 rules;
	__u32 vip;      /* the VIP's words; its summaries end there */
	__u32 first;    /* index of its first word */
	__u32 last;
	__u32 sum_at;   /* first word of the next summary, a multiple of 64: sum is
			   that of the 64 words before */
	__u32 word_base; /* rule of the lowest bit of word */
	__u64 sum;      /* candidate words left */
	__u64 word;     /* candidate rules left */
	__u32 match;    /* next byte match of the candidate, 0: none */
	__u32 rule;     /* offset of the candidate */
	__u32 found;
};

/* match_step compares one byte match of the current candidate. */
static __always_inline long match_step(struct search *s)
{
	__u32 mask = blob32(&s->b, s->match), want = blob32(&s->b, s->match + 4);
	__u32 how = blob32(&s->b, s->match + 8), have = 0;
	__u32 width = ((how >> 16) - 1) & 3; /* less one: 0 to 3 */

	__u32 at = how >> 8 & 0xff;

	asm volatile("" : "+r"(width)); /* keep the bound that the verifier saw */
	s->match += sizeof(struct lb_match);
	/* A match for another protocol says nothing. */
	if ((how & 0xff) == s->p->proto) {
		int differs = at + width + 1 > s->p->l4_len;

		/* All that is known of a quoted packet's header is its ports. */
		if (s->p->flags & PKT_ERROR)
			have = (s->p->sport | (__u32)s->p->dport << 16) >>
			       (8 * at & 31);
		else if (!differs)
			differs = frame_load(s->frame, s->p->l4 + at, &have,
					     width + 1);
		if (differs || (have & mask) != want) {
			s->match = 0; /* on to the next candidate */
			return 0;
		}
	}
	s->found = how >> 24 & 1; /* it was the last */
	return s->found;
}

/* search_rule looks at one candidate rule; 1 ends the search. */
static __always_inline long search_rule(struct search *s)
{
	if (!s->word) {
		if (!s->sum) {
			__u32 at = s->sum_at;

			if (at > s->last)
				return 1;
			__u32 own = s->vip - ((s->last - at) / 64 + 1) * 8;

			s->sum_at = at + 64;
			s->sum = rows_and(&s->b, &s->rows, blob64(&s->b, own),
					  at / 8);
			if (!s->sum)
				return 0;
		}
		__u32 w = s->sum_at - 64 + take_lowest(&s->sum);

		s->word = rows_and(&s->b, &s->rows,
				   blob64(&s->b, s->vip + (w - s->first) * 8),
				   s->sums + w * 8);
		s->word_base = w * 64;
		if (!s->word)
			return 0;
	}
	__u32 rule = s->rules +
		     (s->word_base + take_lowest(&s->word)) *
			     sizeof(struct lb_rule);

	s->rule = rule;
	s->match = blob32(&s->b, rule + 4);
	s->found = !s->match;
	return s->found;
}

static long search_step(__u32 i, struct search *s)
{
	return s->match ? match_step(s) : search_rule(s);
}

/* classify finds the first rule of the VIP in slot that matches p: the offset of
 * its struct lb_rule, 0 if there is none. */
static __always_inline __u32 classify(FRAME *f, const struct blob *b,
				      const struct lb_header *h,
				      const struct pkt *p, __u32 slot)
{
	struct rows rows;
	__u32 first = blob32(b, slot + 24), count = blob32(b, slot + 28);

	if (!count)
		return 0;
	rows_of(b, h, p, &rows);

	struct search s = {
		.b = *b, .rows = rows, .frame = f, .p = p,
		.sums = h->row_sums, .rules = h->rules,
		.vip = blob32(b, slot + 20), .first = first,
		.last = first + count - 1, .sum_at = first & ~63u,
		.word_base = first * 64,
	};

	if (count == 1) {
		s.word = rows_and(b, &rows, blob64(b, s.vip),
				  s.sums + first * 8);
		if (!s.word)
			return 0;
		s.sum_at += 64; /* there is no other word */
	}
	/* Most often the first candidate is the one, and s stays in registers. */
	if (search_rule(&s))
		return s.found ? s.rule : 0;

	struct search rest = s;

	bpf_loop(CLASSIFY_STEPS, search_step, &rest, 0);
	return rest.found ? rest.rule : 0;
}

#define NAT_FORTH 0 /* from the client's port to the target's */
#define NAT_BACK  1

/* nat_find returns what a port of the VIP in slot is translated to, 0: nothing.
 * internal/classify makes the same keys; they are of one length. */
static __always_inline __u16 nat_find(const struct blob *b,
				      const struct lb_header *h, __u32 slot,
				      __u8 proto, __u8 direction, __u16 port)
{
	__u64 nat = blob16(b, slot + 18);
	struct find f = {
		.b = *b, .seed = h->nats.seed, .shift = h->nats.shift & 63,
		.table = h->nats.table, .tag = 1,
		.masks = h->nats.masks - sizeof(struct lb_mask),
	};

	if (!nat)
		return 0;
	f.lo = nat | (__u64)proto << 16 | (__u64)direction << 24 |
	       (__u64)port << 32;
	return find_length(&f) ? blob32(b, f.slot + 20) : 0;
}

#endif
