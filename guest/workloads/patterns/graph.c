// SPDX-License-Identifier: MIT
/* Breadth-first search of a sparse graph, which the CPU changes in between. */
#include <stdlib.h>
#include <string.h>

#include "patterns.h"

#define DEGREE	8
#define SEARCHES 2
/* One edge of so many leads elsewhere before the second search. */
#define RARE	100

static uint64_t *offsets, nodes;
static uint32_t *targets, *depths;
static struct search {
	uint32_t *depths;
	uint64_t reached, looked;
} found[SEARCHES], own[SEARCHES];

/* Few edges go far, so that there are some levels. */
static uint32_t any_target(uint64_t node, uint64_t *random)
{
	uint64_t distance = random_next(random) % (random_next(random) % 16 ? 64 : nodes / 64);

	return (node + distance) % nodes;
}

static void search_by_cpu(struct search *search, const uint64_t *from, const uint32_t *to)
{
	uint32_t *queue = must(malloc(nodes * sizeof(*queue)));
	uint64_t head = 0, tail = 0, edge;

	memset(search->depths, 0xff, nodes * sizeof(*search->depths));
	search->depths[0] = 0;
	queue[tail++] = 0;
	while (head < tail) {
		uint32_t node = queue[head++];

		for (edge = from[node]; edge < from[node + 1]; edge++) {
			search->looked++;
			if (search->depths[to[edge]] != UINT32_MAX)
				continue;
			search->depths[to[edge]] = search->depths[node] + 1;
			queue[tail++] = to[edge];
		}
	}
	search->reached = tail;
	free(queue);
}

static void change(uint32_t *to, uint64_t edges)
{
	uint64_t edge, random = 2;

	for (edge = 0; edge < edges; edge += RARE)
		to[edge] = any_target(edge / DEGREE, &random);
}

static void setup(size_t bytes)
{
	uint64_t node, random = 1, edges = 0;
	uint32_t *copy;
	size_t i;

	nodes = bytes / (sizeof(*offsets) + sizeof(*depths) + DEGREE * sizeof(*targets));
	offsets = frame_memory((nodes + 1) * sizeof(*offsets));
	targets = frame_memory(nodes * DEGREE * sizeof(*targets));
	depths = frame_memory(nodes * sizeof(*depths));
	for (node = 0; node < nodes; node++) {
		uint64_t degree = random_next(&random) % (DEGREE + 1);

		offsets[node] = edges;
		while (degree--)
			targets[edges++] = any_target(node, &random);
	}
	offsets[nodes] = edges;
	for (i = 0; i < SEARCHES; i++) {
		found[i].depths = must(malloc(nodes * sizeof(*depths)));
		own[i].depths = must(malloc(nodes * sizeof(*depths)));
	}
	copy = must(malloc(edges * sizeof(*copy)));
	memcpy(copy, targets, edges * sizeof(*copy));
	search_by_cpu(&own[0], offsets, copy);
	change(copy, edges);
	search_by_cpu(&own[1], offsets, copy);
	free(copy);
}

static void work(void)
{
	size_t i;

	for (i = 0; i < SEARCHES; i++) {
		if (i)
			change(targets, offsets[nodes]);
		memset(depths, 0xff, nodes * sizeof(*depths));
		run("graph_bfs", offsets, targets, nodes, 0, depths);
		found[i].reached = end.result[0];
		found[i].looked = end.result[1];
		memcpy(found[i].depths, depths, nodes * sizeof(*depths));
	}
}

static void verify(void)
{
	uint64_t node;
	size_t i;

	for (i = 0; i < SEARCHES; i++) {
		check(own[i].reached > nodes / 2, "the CPU reaches %llu of %llu nodes",
		      (unsigned long long)own[i].reached, (unsigned long long)nodes);
		check(found[i].reached == own[i].reached && found[i].looked == own[i].looked,
		      "the device reaches %llu nodes by %llu edges, not %llu by %llu",
		      (unsigned long long)found[i].reached, (unsigned long long)found[i].looked,
		      (unsigned long long)own[i].reached, (unsigned long long)own[i].looked);
		for (node = 0; node < nodes; node++)
			check(found[i].depths[node] == own[i].depths[node],
			      "node %llu is at depth %u, not %u", (unsigned long long)node,
			      found[i].depths[node], own[i].depths[node]);
	}
}

const struct pattern graph = {
	.name = "bfs",
	.what = "the device searches a sparse graph, the CPU changes it and reads the depths",
	.bytes = 3 << 20,
	.setup = setup,
	.work = work,
	.verify = verify,
};
