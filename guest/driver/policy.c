// SPDX-License-Identifier: GPL-2.0
/*
 * Placement policy per address range: what a device fault does with the page.
 *
 * Advice belongs to the mapping that it was given for and ends with it: the
 * notifier tells of every munmap() and mremap(). Ranges do not overlap, and the
 * neighbours of one policy are one range. Where there is none, it is the
 * machine's policy that counts, which may change at any time: so advice to do
 * what that says anyway is kept like any other.
 */
#include <linux/interval_tree.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "compat.h"
#include "mirror.h"
#include "policy.h"

/* Ranges of one mirror, which are memory of the kernel's. */
#define MAX_RANGES	65536

static const char * const policies[] = {
	[DEVMODEL_POLICY_IN_PLACE] = "in_place",
	[DEVMODEL_POLICY_ON_TOUCH] = "on_touch",
};

static int unadvised = DEVMODEL_POLICY_IN_PLACE;

static int set_unadvised(const char *name, const struct kernel_param *param)
{
	int policy = sysfs_match_string(policies, name);

	if (policy < 0) {
		pr_err("devmodel: policy=%s: this driver knows in_place and on_touch\n", name);
		return policy;
	}
	WRITE_ONCE(unadvised, policy);
	return 0;
}

static int get_unadvised(char *text, const struct kernel_param *param)
{
	return sysfs_emit(text, "%s\n", policies[READ_ONCE(unadvised)]);
}

static const struct kernel_param_ops unadvised_ops = {
	.set = set_unadvised,
	.get = get_unadvised,
};

module_param_cb(policy, &unadvised_ops, NULL, 0644);
MODULE_PARM_DESC(policy, "what a device's touch does where nobody advised: in_place (default), on_touch");

struct advice {
	struct interval_tree_node pages;
	enum devmodel_policy policy;
};

static struct advice *first(struct devmodel_mirror *mirror, unsigned long start,
			    unsigned long last)
{
	struct interval_tree_node *node;

	lockdep_assert_held(&mirror->policy_lock);
	node = interval_tree_iter_first(&mirror->policy, start, last);
	return node ? container_of(node, struct advice, pages) : NULL;
}

static void insert(struct devmodel_mirror *mirror, struct advice *advice,
		   unsigned long start, unsigned long last)
{
	advice->pages.start = start;
	advice->pages.last = last;
	interval_tree_insert(&advice->pages, &mirror->policy);
	mirror->policy_ranges++;
}

static void erase(struct devmodel_mirror *mirror, struct advice *advice)
{
	interval_tree_remove(&advice->pages, &mirror->policy);
	mirror->policy_ranges--;
}

/*
 * No advice from page @start to page @last. A range that goes on at both ends
 * becomes two, of which *@spare is the second; without it that range is
 * forgotten as a whole, which costs speed alone.
 */
static void clear(struct devmodel_mirror *mirror, unsigned long start, unsigned long last,
		  struct advice **spare)
{
	struct advice *advice;

	while ((advice = first(mirror, start, last))) {
		unsigned long from = advice->pages.start, to = advice->pages.last;

		erase(mirror, advice);
		if (from < start && to > last && *spare) {
			(*spare)->policy = advice->policy;
			insert(mirror, *spare, last + 1, to);
			*spare = NULL;
			to = last;
		}
		if (from < start && to <= last)
			insert(mirror, advice, from, start - 1);
		else if (to > last && from >= start)
			insert(mirror, advice, last + 1, to);
		else
			kfree(advice);
	}
}

/* Make one range of @advice and of what lies beside it and says the same. */
static void add(struct devmodel_mirror *mirror, struct advice *advice,
		unsigned long start, unsigned long last)
{
	struct advice *other = start ? first(mirror, start - 1, start - 1) : NULL;

	if (other && other->policy == advice->policy) {
		start = other->pages.start;
		erase(mirror, other);
		kfree(other);
	}
	other = first(mirror, last + 1, last + 1);
	if (other && other->policy == advice->policy) {
		last = other->pages.last;
		erase(mirror, other);
		kfree(other);
	}
	insert(mirror, advice, start, last);
}

/**
 * devmodel_policy_set() - advise on a range; the latest advice on a page holds
 * @mirror: the mirror
 * @start: page aligned
 * @end: page aligned
 * @policy: what to do there
 *
 * Return: 0, -EINVAL, -ENOMEM, or -ENOSPC: there are as many ranges as there may be.
 */
int devmodel_policy_set(struct devmodel_mirror *mirror, unsigned long start,
			unsigned long end, enum devmodel_policy policy)
{
	unsigned long last = (end - 1) >> PAGE_SHIFT;
	struct advice *advice, *spare;
	int ret = 0;

	if (policy != DEVMODEL_POLICY_IN_PLACE && policy != DEVMODEL_POLICY_ON_TOUCH)
		return -EINVAL;
	advice = kmalloc_obj(*advice, GFP_KERNEL_ACCOUNT);
	spare = kmalloc_obj(*spare, GFP_KERNEL_ACCOUNT);
	if (!advice || !spare) {
		ret = -ENOMEM;
		goto out;
	}
	advice->policy = policy;
	spin_lock(&mirror->policy_lock);
	/* One may become three. */
	if (mirror->policy_ranges + 2 > MAX_RANGES) {
		ret = -ENOSPC;
	} else {
		clear(mirror, start >> PAGE_SHIFT, last, &spare);
		add(mirror, advice, start >> PAGE_SHIFT, last);
		advice = NULL;
	}
	spin_unlock(&mirror->policy_lock);
out:
	kfree(advice);
	kfree(spare);
	return ret;
}

/**
 * devmodel_policy_end() - the mapping that advice was given for goes
 * @mirror: the mirror; pt_lock is held, so nothing that waits for memory is done
 * @start: page aligned
 * @end: page aligned
 */
void devmodel_policy_end(struct devmodel_mirror *mirror, unsigned long start,
			 unsigned long end)
{
	struct advice *spare = NULL;

	if (RB_EMPTY_ROOT(&mirror->policy.rb_root))
		return;
	if (mirror->policy_ranges < MAX_RANGES)
		spare = kmalloc_obj(*spare, GFP_NOWAIT | __GFP_NOWARN | __GFP_ACCOUNT);
	spin_lock(&mirror->policy_lock);
	clear(mirror, start >> PAGE_SHIFT, (end - 1) >> PAGE_SHIFT, &spare);
	spin_unlock(&mirror->policy_lock);
	kfree(spare);
}

/**
 * devmodel_policy_get() - the policy at an address: what was advised, or the machine's
 * @mirror: the mirror
 * @address: where
 * @end: set to the end of the stretch that has the same policy
 *
 * Return: the policy.
 */
enum devmodel_policy devmodel_policy_get(struct devmodel_mirror *mirror,
					 unsigned long address, unsigned long *end)
{
	unsigned long page = address >> PAGE_SHIFT, next = ULONG_MAX >> PAGE_SHIFT;
	enum devmodel_policy policy = READ_ONCE(unadvised);
	struct advice *advice;

	spin_lock(&mirror->policy_lock);
	advice = first(mirror, page, ULONG_MAX);
	if (advice && advice->pages.start <= page) {
		policy = advice->policy;
		next = advice->pages.last + 1;
	} else if (advice) {
		next = advice->pages.start;
	}
	spin_unlock(&mirror->policy_lock);
	*end = next << PAGE_SHIFT;
	return policy;
}

/**
 * devmodel_policy_init() - no advice yet
 * @mirror: a new mirror
 */
void devmodel_policy_init(struct devmodel_mirror *mirror)
{
	spin_lock_init(&mirror->policy_lock);
	mirror->policy = RB_ROOT_CACHED;
}

/* The mirror goes; nobody looks any more. */
void devmodel_policy_fini(struct devmodel_mirror *mirror)
{
	struct advice *spare = NULL;

	spin_lock(&mirror->policy_lock);
	clear(mirror, 0, ULONG_MAX, &spare);
	spin_unlock(&mirror->policy_lock);
}
