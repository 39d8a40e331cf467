// SPDX-License-Identifier: GPL-2.0
/*
 * Migration by a device's DMA engine, in the three steps of migrate_vma:
 * collect and isolate, allocate and copy, finalise and map. A page can drop
 * out at each of them; what was allocated for it goes back.
 *
 * Our own migrations are not filtered out of the notifier: its callback takes
 * the devices' translations away before anything is copied, which is what has
 * to happen, and moves the dirty state to the page that is about to be copied.
 */
#include <linux/pagemap.h>
#include <linux/slab.h>

#include "aside.h"
#include "compat.h"
#include "copy.h"
#include "hbm.h"
#include "loss.h"
#include "migration.h"
#include "poison.h"
#include "state.h"
#include "trace.h"

void migration_free(struct migration *batch)
{
	if (!batch)
		return;
	devmodel_copy_list_free(batch->copies);
	devmodel_copy_list_free(batch->fills);
	if (batch->spare)
		__free_pages(batch->spare, DEVMODEL_LEVEL_BITS);
	kvfree(batch->src);
	kfree(batch);
}

/**
 * migration_new() - room for a batch
 * @capacity: pages at most, up to DEVMODEL_BATCH
 *
 * Return: a batch that goes nowhere yet, or NULL.
 */
struct migration *migration_new(unsigned int capacity)
{
	struct migration *batch = kzalloc(sizeof(*batch), GFP_KERNEL);

	if (!batch)
		return NULL;
	batch->capacity = capacity;
	/* One allocation for all that there is one of per page, the widest first. */
	batch->src = kvcalloc(capacity, 2 * sizeof(*batch->src) + 2 * sizeof(u16) + sizeof(u8),
			      GFP_KERNEL);
	batch->copies = devmodel_copy_list_new(capacity);
	batch->fills = devmodel_copy_list_new(capacity);
	if (!batch->src || migration_broken(batch)) {
		migration_free(batch);
		return NULL;
	}
	batch->dst = batch->src + capacity;
	batch->copy_page = (u16 *)(batch->dst + capacity);
	batch->fill_page = batch->copy_page + capacity;
	batch->outcome = (u8 *)(batch->fill_page + capacity);
	return batch;
}

/* Say where the pages are and where they go; NULL is system memory. Not both are. */
void migration_aim(struct migration *batch, struct devmodel_dev *from,
		   struct devmodel_dev *to)
{
	batch->from = from;
	batch->to = to;
}

static struct devmodel_dev *engine(struct migration *batch)
{
	return batch->to ? batch->to : batch->from;
}

/* Rises with each new life of a device that the batch is about. */
static u32 lives(struct migration *batch)
{
	return (batch->from ? READ_ONCE(batch->from->generation) : 0) +
	       (batch->to ? READ_ONCE(batch->to->generation) : 0);
}

static bool fails_for_a_test(struct migration *batch)
{
	return READ_ONCE(engine(batch)->fail_alloc) && xchg(&engine(batch)->fail_alloc, false);
}

/*
 * Have a huge page of system memory before a huge page of HBM is unmapped. One
 * that is shared since a fork had better not stay for want of a place: as the
 * kernel maps it again, remove_migration_pmd() takes its soft-dirty bit for a
 * right to write, and stops if it was built with DEBUG_VM (7.2).
 */
static bool take_spare(struct migration *batch, gfp_t effort)
{
	struct folio *folio;

	if (batch->spare)
		return true;
	if (fails_for_a_test(batch))
		return false;
	folio = folio_alloc(GFP_TRANSHUGE | effort, DEVMODEL_LEVEL_BITS);
	batch->spare = folio ? folio_page(folio, 0) : NULL;
	return folio;
}

static struct page *system_page(struct migration *batch, unsigned int order)
{
	/* Making room in HBM is not worth killing anybody for. */
	gfp_t gfp = GFP_HIGHUSER_MOVABLE |
		    (batch->evicting ? __GFP_RETRY_MAYFAIL | __GFP_NOWARN : 0);
	struct page *page;

	if (order) {
		page = batch->spare;
		batch->spare = NULL;
	} else {
		page = alloc_page(gfp);
	}
	if (page && batch->from && devmodel_owner(page) == batch->from) {
		/* A node that is open to everybody is no way out of itself. */
		__free_page(page);
		return NULL;
	}
	if (page)
		lock_page(page);
	return page;
}

static struct page *destination(struct migration *batch, unsigned int order)
{
	if (fails_for_a_test(batch))
		return NULL;
	return batch->to ? devmodel_frame_alloc(batch->to, order) : system_page(batch, order);
}

static void drop(struct migration *batch, unsigned long i)
{
	struct page *page = migrate_pfn_to_page(batch->dst[i]);

	batch->outcome[i] = DEVMODEL_OUTCOME_COPY_FAILED;
	batch->dst[i] = 0;
	if (page) {
		unlock_page(page);
		devmodel_put_page(engine(batch), page);
	}
}

static void add_copy(struct migration *batch, unsigned long i, struct page *from,
		     struct page *to)
{
	u64 dst = devmodel_bus_address(engine(batch), to);
	u32 length = PAGE_SIZE << batch->order;
	unsigned int entry;

	if (from) {
		entry = devmodel_copy_add(batch->copies,
					  devmodel_bus_address(engine(batch), from), dst,
					  length);
		batch->copy_page[entry] = i;
	} else {
		/* An empty page is filled at its destination, not copied. */
		entry = devmodel_copy_add(batch->fills, 0, dst, length);
		batch->fill_page[entry] = i;
	}
}

static void go_to(struct migration *batch, unsigned long i, struct page *to)
{
	batch->dst[i] = migrate_pfn(page_to_pfn(to)) |
			(batch->order ? MIGRATE_PFN_COMPOUND : 0);
}

/* A page without bytes for a page that has lost them: nothing is copied. */
static void give_up_entry(struct migration *batch, unsigned long i)
{
	struct page *to = devmodel_poison_page(batch->order);

	batch->outcome[i] = DEVMODEL_OUTCOME_LOST;
	if (to)
		go_to(batch, i, to);
}

/* A destination and a list entry for a page, or for a huge one, that can go. */
static void prepare_entry(struct migration *batch, unsigned long i)
{
	struct page *from = migrate_pfn_to_page(batch->src[i]), *to;

	/* Whatever was asked for, an empty page is found by all. */
	if (!from && batch->from)
		return;
	/* A node's pages are ordinary ones: migrate_vma_setup() does not tell them. */
	if (from && devmodel_owner(from) != batch->from)
		return;
	/* migrate_vma_*() is for anonymous memory; in a node there may be other pages. */
	if (from && !PageAnon(from))
		return;
	if (from && devmodel_page_is_lost(from, batch->order)) {
		give_up_entry(batch, i);
		return;
	}
	/* Bytes that are lost with a device stay lost, within a peer's reach or not. */
	if (batch->from && devmodel_is_lost(batch->from)) {
		batch->outcome[i] = DEVMODEL_OUTCOME_COPY_FAILED;
		return;
	}
	batch->outcome[i] = DEVMODEL_OUTCOME_NO_MEMORY;
	/* If it is not writable it may be shared, see take_spare(). */
	if (batch->order && batch->to && from && !(batch->src[i] & MIGRATE_PFN_WRITE)) {
		batch->unfit = true;
		return;
	}
	to = destination(batch, batch->order);
	if (!to && batch->order && batch->args.fault_page) {
		/*
		 * Offered a small page, the kernel splits at least the mapping
		 * of a huge one; the page it cannot, as the fault holds on to
		 * it. The CPU's next touch is one of a small page.
		 */
		batch->order = 0;
		to = destination(batch, 0);
	}
	if (!to) {
		batch->unfit = batch->order;
		batch->starved += batch->to && !batch->order;
		return;
	}
	go_to(batch, i, to);
	batch->outcome[i] = DEVMODEL_OUTCOME_MOVED;
	add_copy(batch, i, from, to);
}

/* Of the huge page that the kernel's word for the first page of a batch is about, or 0. */
static unsigned int whole_order(unsigned long src)
{
	struct page *page = migrate_pfn_to_page(src);

	if (!(src & MIGRATE_PFN_COMPOUND))
		return 0;
	return page ? folio_order(page_folio(page)) : DEVMODEL_LEVEL_BITS;
}

/* Step two, first half: find out where each page goes. */
static void prepare(struct migration *batch, unsigned long count)
{
	unsigned long i;

	batch->starved = 0;
	batch->unfit = false;
	batch->lives = lives(batch);
	batch->order = whole_order(batch->src[0]);
	batch->copies->count = 0;
	batch->fills->count = 0;
	for (i = 0; i < count; i++) {
		batch->dst[i] = 0;
		batch->outcome[i] = DEVMODEL_OUTCOME_NOT_MIGRATABLE;
	}
	/* Of a huge page the other entries are 0. */
	for (i = 0; i < count; i++)
		if (batch->src[i] & MIGRATE_PFN_MIGRATE)
			prepare_entry(batch, i);
}

/*
 * Of the two pages only one can lie in HBM of the device that says so. A huge
 * page that was to go there goes in parts: one of them finds the frame.
 */
static void note_failure(struct migration *batch, unsigned long i)
{
	struct page *from = migrate_pfn_to_page(batch->src[i]);

	if (!batch->to && from)
		devmodel_page_failed(batch->from, from, batch->order);
	else if (batch->to && batch->order)
		batch->unfit = true;
	else if (batch->to)
		devmodel_page_failed(batch->to, migrate_pfn_to_page(batch->dst[i]), 0);
}

static void run_list(struct migration *batch, enum devmodel_copy op,
		     struct devmodel_copy_list **list, const u16 *page_of)
{
	unsigned int i, count = (*list)->count;
	int ret = devmodel_copy_run(engine(batch), op, list);

	/* What it moved in another life may not be what was there in the one before. */
	if (!ret && lives(batch) != batch->lives)
		ret = -EIO;
	for (i = 0; i < count; i++) {
		u32 status = ret ? DEVMODEL_STATUS_PENDING :
				   READ_ONCE((*list)->entry[i].status);

		if (status == DEVMODEL_STATUS_POISONED)
			note_failure(batch, page_of[i]);
		if (status != DEVMODEL_STATUS_OK)
			drop(batch, page_of[i]);
		if (status == DEVMODEL_STATUS_POISONED && !batch->to)
			batch->outcome[page_of[i]] = DEVMODEL_OUTCOME_LOST;
	}
}

/* Step two, second half: the device moves the bytes; what it could not, drops out. */
static void transfer(struct migration *batch)
{
	run_list(batch, DEVMODEL_COPY_COPY, &batch->copies, batch->copy_page);
	run_list(batch, DEVMODEL_COPY_FILL, &batch->fills, batch->fill_page);
}

static void count_moved(struct migration *batch, unsigned long moved, unsigned long empty)
{
	struct devmodel_dev *from = batch->from, *to = batch->to;

	if (to) {
		atomic64_add(moved, &to->stats.pages_to_device);
		atomic64_add(empty, &to->stats.pages_zeroed);
	} else {
		atomic64_add(moved, &from->stats.pages_to_system);
	}
	if (batch->evicting)
		atomic64_add(moved, &from->stats.pages_evicted);
	if (from && to) {
		atomic64_add(moved, &to->stats.pages_from_peer);
		atomic64_add(moved, &from->stats.pages_to_peer);
	}
}

/* After the kernel's part of step three: what became of the pages. Return: how many went. */
static unsigned long account(struct migration *batch, unsigned long count,
			     unsigned long start)
{
	unsigned long i, moved = 0, failed = 0, empty = 0, lost = 0, pages = BIT(batch->order);

	for (i = 0; i < count; i += pages) {
		if (batch->dst[i] && (batch->src[i] & MIGRATE_PFN_MIGRATE)) {
			if (batch->outcome[i] == DEVMODEL_OUTCOME_LOST) {
				lost += pages;
				continue;
			}
			moved += pages;
			if (!(batch->src[i] & MIGRATE_PFN_VALID))
				empty += pages;
			continue;
		}
		/* All was well, but somebody held on to it. */
		if (batch->outcome[i] == DEVMODEL_OUTCOME_MOVED)
			batch->outcome[i] = DEVMODEL_OUTCOME_BUSY;
		if (migrate_pfn_to_page(batch->src[i]) ||
		    batch->outcome[i] != DEVMODEL_OUTCOME_NOT_MIGRATABLE)
			failed += pages;
	}
	if (batch->order)
		memset(batch->outcome + 1, batch->outcome[0], count - 1);
	count_moved(batch, moved, empty);
	if (lost)
		atomic64_add(lost, &batch->from->stats.pages_lost);
	atomic64_add(failed, &engine(batch)->stats.pages_failed);
	trace_devmodel_migrate(batch->from ? batch->from->id : -1,
			       batch->to ? batch->to->id : -1, batch->evicting, start, count,
			       moved, failed);
	return moved + lost;
}

static unsigned long select_flags(const struct devmodel_dev *from)
{
	if (!from || devmodel_is_node(from))
		return MIGRATE_VMA_SELECT_SYSTEM;
	if (from->model == DEVMODEL_MODEL_PRIVATE)
		return MIGRATE_VMA_SELECT_DEVICE_PRIVATE;
	return MIGRATE_VMA_SELECT_DEVICE_COHERENT;
}

/*
 * May a huge page go whole? Not to coherent memory: the kernel would map it
 * there, and then find none to bring back (migrate_vma_collect_huge_pmd()). Not
 * between devices either, as it may be shared: see take_spare().
 */
static bool may_go_whole(struct migration *batch, unsigned long count)
{
	if (!MIGRATE_VMA_SELECT_COMPOUND || count < DEVMODEL_BATCH ||
	    engine(batch)->model != DEVMODEL_MODEL_PRIVATE)
		return false;
	if (batch->to)
		return !batch->from;
	return take_spare(batch, __GFP_NORETRY);
}

static int run_vma(struct migration *batch, struct vm_area_struct *vma,
		   unsigned long start, unsigned long end, struct page *fault_page,
		   bool whole)
{
	unsigned long count = (end - start) >> PAGE_SHIFT;
	int ret;

	batch->args = (struct migrate_vma) {
		.vma = vma,
		.src = batch->src,
		.dst = batch->dst,
		.start = start,
		.end = end,
		.pgmap_owner = batch->from ? batch->from : batch->to,
		.flags = select_flags(batch->from) |
			 (whole ? MIGRATE_VMA_SELECT_COMPOUND : 0),
		.fault_page = fault_page,
	};
	ret = migrate_vma_setup(&batch->args);
	if (ret)
		return ret;
	prepare(batch, count);
	if (batch->args.cpages) {
		transfer(batch);
		migrate_vma_pages(&batch->args);
	}
	if (!batch->unfit)
		account(batch, count, start);
	migrate_vma_finalize(&batch->args);
	return migration_broken(batch) ? -EIO : 0;
}

/**
 * migration_run_vma() - move pages of one VMA
 * @batch: where from and where to
 * @vma: what migrate_vma_setup() can take; mmap_lock is held
 * @start: page aligned, in the VMA
 * @end: likewise, at most the batch's capacity further on, with no boundary
 *	between huge pages in between
 * @fault_page: the page that a CPU touched, or NULL
 *
 * Return: 0, also when pages stayed: see batch->outcome; or -EINVAL, -EIO.
 */
int migration_run_vma(struct migration *batch, struct vm_area_struct *vma,
		      unsigned long start, unsigned long end, struct page *fault_page)
{
	bool whole = may_go_whole(batch, (end - start) >> PAGE_SHIFT);
	int ret;

	/* What a CPU touched is asked for as what it is: nothing else is found. */
	ret = run_vma(batch, vma, start, end, fault_page, whole || fault_page);

	/*
	 * No place for a huge page: have the kernel split it and move its parts.
	 * migrate_vma_pages() would do that too if it were offered small pages,
	 * but only for this mapping, and a fork may have left another one.
	 */
	if (!ret && batch->unfit)
		ret = run_vma(batch, vma, start, end, fault_page, false);
	return ret;
}

/**
 * migration_run_frames() - move frames, whoever maps them
 * @batch: where from and where to; batch->src holds page frame numbers, either
 *	all those of one huge page, in order, or none of any
 * @count: how many
 *
 * A huge page goes as one or not at all: only who has a mapping of it can split it.
 *
 * No mmap_lock is needed, and none is taken: the kernel finds the mappings by
 * the pages, and tells the mirrors of all of them.
 *
 * Return: how many went, those included whose bytes are lost.
 */
unsigned long migration_run_frames(struct migration *batch, unsigned long count)
{
	struct page *first = pfn_to_page(batch->src[0]);
	unsigned long gone;

	batch->args.fault_page = NULL;
	if (count == DEVMODEL_BATCH && folio_test_large(page_folio(first)) &&
	    !devmodel_page_is_lost(first, DEVMODEL_LEVEL_BITS) &&
	    !take_spare(batch, __GFP_RETRY_MAYFAIL))
		return 0;
	devmodel_lock_frames(batch->src, count);
	prepare(batch, count);
	transfer(batch);
	migrate_device_pages(batch->src, batch->dst, count);
	gone = account(batch, count, 0);
	migrate_device_finalize(batch->src, batch->dst, count);
	return gone;
}
