/* SPDX-License-Identifier: MIT */
/*
 * A word index: a chained hash table of the words of a text, and for each word
 * the words that followed it. Plain malloc throughout; the device reads these
 * very structures (devmodel/device/programs/wordindex.py knows their layout).
 */
#ifndef _INDEX_H
#define _INDEX_H

#include <stddef.h>
#include <stdint.h>

struct wi_edge;

struct wi_word {
	struct wi_word *next;	/* chain of the bucket */
	uint64_t hash;		/* FNV-1a of the text */
	uint64_t count;		/* times it was seen */
	uint64_t mark;		/* a walk's number << 32 | depth + 1 */
	struct wi_edge *edges;	/* words that followed this one */
	uint64_t nedges;
	char *text;		/* length bytes, no NUL */
	uint64_t length;
};

struct wi_edge {
	struct wi_edge *next;
	struct wi_word *to;
	uint64_t weight;	/* times it followed */
};

struct wi_key {
	char *text;
	uint64_t length;
};

_Static_assert(sizeof(struct wi_word) == 64, "as the device reads it");
_Static_assert(sizeof(struct wi_edge) == 24, "as the device reads it");
_Static_assert(sizeof(struct wi_key) == 16, "as the device reads it");

/* A slot of an open hash table. */
struct pair {
	const struct wi_word *from;
	struct wi_edge *edge;
};

struct index {
	struct wi_word **buckets;
	uint64_t nbuckets;	/* a power of two */
	struct wi_word **all;	/* every word, in order of appearance; the CPU's own */
	size_t nwords, room;
	uint64_t nedges;
	struct pair *pairs;	/* finds an edge by its two words; the CPU's own */
	size_t npairs;		/* room in it, a power of two */
};

/* All of these end the program with a message if memory runs out. */
void index_init(struct index *index, size_t text_bytes);
/* The word of a text, made if there is none, its count unchanged. */
struct wi_word *index_word(struct index *index, const char *text, size_t length);
/* One more time that @to followed @from. */
void index_follow(struct index *index, struct wi_word *from, struct wi_word *to);
/* Index a text; returns how many words it has in all. */
uint64_t index_text(struct index *index, const char *text, size_t length);

/* What device programs do, done by the CPU. */
struct wi_word *index_find(const struct index *index, const char *text, size_t length,
			   uint64_t *visited);
/* Words and the sum of their counts; chain lengths are added to @bins[64]. */
uint64_t index_count(const struct index *index, uint64_t *total, uint64_t *bins);
/* Words reached; *edges: edges walked. */
uint64_t index_walk(struct index *index, struct wi_word *start, uint32_t mark,
		    uint32_t max_depth, uint64_t *edges);

#endif /* _INDEX_H */
