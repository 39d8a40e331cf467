// SPDX-License-Identifier: MIT
/* See index.h. */
#include <stdlib.h>
#include <string.h>

#include "../frame.h"
#include "index.h"

#define MAX_WORD	63

void index_init(struct index *index, size_t text_bytes)
{
	*index = (struct index) { .nbuckets = 64, .room = 1024, .npairs = 1024 };
	/* Chains of a few words each, so that there is something to walk. */
	while (index->nbuckets < text_bytes / 512)
		index->nbuckets *= 2;
	index->buckets = must(calloc(index->nbuckets, sizeof(*index->buckets)));
	index->all = must(calloc(index->room, sizeof(*index->all)));
	index->pairs = must(calloc(index->npairs, sizeof(*index->pairs)));
}

static uint64_t fnv1a(const char *text, size_t length)
{
	uint64_t hash = 0xcbf29ce484222325;

	while (length--)
		hash = (hash ^ (uint8_t)*text++) * 0x100000001b3;
	return hash;
}

static struct wi_word *find(const struct index *index, const char *text, size_t length,
			    uint64_t hash, uint64_t *visited)
{
	struct wi_word *word = index->buckets[hash & (index->nbuckets - 1)];

	for (; word; word = word->next) {
		++*visited;
		if (word->hash == hash && word->length == length &&
		    !memcmp(word->text, text, length))
			return word;
	}
	return NULL;
}

struct wi_word *index_find(const struct index *index, const char *text, size_t length,
			   uint64_t *visited)
{
	return find(index, text, length, fnv1a(text, length), visited);
}

struct wi_word *index_word(struct index *index, const char *text, size_t length)
{
	uint64_t hash = fnv1a(text, length), visited = 0;
	struct wi_word *word = find(index, text, length, hash, &visited);
	struct wi_word **bucket = &index->buckets[hash & (index->nbuckets - 1)];

	if (word)
		return word;
	word = must(calloc(1, sizeof(*word)));
	word->text = must(malloc(length));
	memcpy(word->text, text, length);
	word->length = length;
	word->hash = hash;
	word->next = *bucket;
	*bucket = word;
	if (index->nwords == index->room) {
		index->room *= 2;
		index->all = must(realloc(index->all, index->room * sizeof(*index->all)));
	}
	index->all[index->nwords++] = word;
	return word;
}

/* Where the edge between two words is among the pairs, or where it belongs. */
static size_t find_pair(const struct index *index, const struct wi_word *from,
			const struct wi_word *to)
{
	uint64_t hash = (from->hash ^ to->hash * 31) * 0x9e3779b97f4a7c15;
	size_t at = hash >> 20 & (index->npairs - 1);

	while (index->pairs[at].edge &&
	       (index->pairs[at].from != from || index->pairs[at].edge->to != to))
		at = (at + 1) & (index->npairs - 1);
	return at;
}

static void grow_pairs(struct index *index)
{
	struct pair *old = index->pairs;
	size_t i, count = index->npairs;

	index->npairs *= 4;
	index->pairs = must(calloc(index->npairs, sizeof(*index->pairs)));
	for (i = 0; i < count; i++)
		if (old[i].edge)
			index->pairs[find_pair(index, old[i].from, old[i].edge->to)] = old[i];
	free(old);
}

void index_follow(struct index *index, struct wi_word *from, struct wi_word *to)
{
	struct pair *pair = &index->pairs[find_pair(index, from, to)];
	struct wi_edge *edge = pair->edge;

	if (edge) {
		edge->weight++;
		return;
	}
	edge = must(malloc(sizeof(*edge)));
	*edge = (struct wi_edge) { .next = from->edges, .to = to, .weight = 1 };
	from->edges = edge;
	from->nedges++;
	*pair = (struct pair) { from, edge };
	if (2 * ++index->nedges > index->npairs)
		grow_pairs(index);
}

/* Letters, digits and underscores, in lower case; 0 for what separates words. */
static char letter(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A' + 'a';
	if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_')
		return c;
	return 0;
}

uint64_t index_text(struct index *index, const char *text, size_t length)
{
	struct wi_word *before = NULL, *word;
	char token[MAX_WORD];
	size_t at, size = 0;
	uint64_t tokens = 0;

	for (at = 0; at <= length; at++) {
		char c = at < length ? letter(text[at]) : 0;

		if (c) {
			/* The end of an overlong word is cut off. */
			if (size < MAX_WORD)
				token[size++] = c;
			continue;
		}
		if (!size)
			continue;
		word = index_word(index, token, size);
		word->count++;
		if (before)
			index_follow(index, before, word);
		before = word;
		tokens++;
		size = 0;
	}
	return tokens;
}

uint64_t index_count(const struct index *index, uint64_t *total, uint64_t *bins)
{
	const struct wi_word *word;
	uint64_t i, chain, words = 0;

	*total = 0;
	for (i = 0; i < index->nbuckets; i++) {
		chain = 0;
		for (word = index->buckets[i]; word; word = word->next) {
			*total += word->count;
			chain++;
		}
		bins[chain < 63 ? chain : 63]++;
		words += chain;
	}
	return words;
}

uint64_t index_walk(struct index *index, struct wi_word *start, uint32_t mark,
		    uint32_t max_depth, uint64_t *edges)
{
	struct wi_word **queue = must(calloc(index->nwords, sizeof(*queue)));
	size_t head = 0, tail = 0;
	struct wi_edge *edge;

	*edges = 0;
	start->mark = (uint64_t)mark << 32 | 1;
	queue[tail++] = start;
	while (head < tail) {
		struct wi_word *word = queue[head++];
		uint32_t depth = (uint32_t)word->mark - 1;

		if (depth >= max_depth)
			continue;
		for (edge = word->edges; edge; edge = edge->next) {
			++*edges;
			if (edge->to->mark >> 32 == mark)
				continue;
			edge->to->mark = (uint64_t)mark << 32 | (depth + 2);
			queue[tail++] = edge->to;
		}
	}
	free(queue);
	return tail;
}
