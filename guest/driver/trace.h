/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What happens between the kernel's memory management and the device, in the
 * words of both: /sys/kernel/tracing/events/devmodel/.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM devmodel

#if !defined(_DEVMODEL_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _DEVMODEL_TRACE_H

#include <linux/tracepoint.h>

#include "devmodel_abi.h"
#include "walk.h"

DECLARE_EVENT_CLASS(devmodel_mirror,
	TP_PROTO(int device, u32 ctx),
	TP_ARGS(device, ctx),
	TP_STRUCT__entry(
		__field(int, device)
		__field(u32, ctx)
	),
	TP_fast_assign(
		__entry->device = device;
		__entry->ctx = ctx;
	),
	TP_printk("device=%d ctx=%u", __entry->device, __entry->ctx)
);

DEFINE_EVENT(devmodel_mirror, devmodel_register,
	TP_PROTO(int device, u32 ctx), TP_ARGS(device, ctx));
DEFINE_EVENT(devmodel_mirror, devmodel_release,
	TP_PROTO(int device, u32 ctx), TP_ARGS(device, ctx));

TRACE_EVENT(devmodel_update,
	TP_PROTO(int device, u32 ctx, const char *event, unsigned long start,
		 unsigned long end, u64 pte_mask, const struct devmodel_pt_count *before,
		 const struct devmodel_pt_count *after),
	TP_ARGS(device, ctx, event, start, end, pte_mask, before, after),
	TP_STRUCT__entry(
		__field(int, device)
		__field(u32, ctx)
		__field(const char *, event)
		__field(unsigned long, start)
		__field(unsigned long, end)
		__field(u64, pte_mask)
		__field(unsigned long, valid_before)
		__field(unsigned long, writable_before)
		__field(unsigned long, valid_after)
		__field(unsigned long, writable_after)
	),
	TP_fast_assign(
		__entry->device = device;
		__entry->ctx = ctx;
		__entry->event = event;
		__entry->start = start;
		__entry->end = end;
		__entry->pte_mask = pte_mask;
		__entry->valid_before = before->valid;
		__entry->writable_before = before->writable;
		__entry->valid_after = after->valid;
		__entry->writable_after = after->writable;
	),
	TP_printk("device=%d ctx=%u event=%s start=%#lx end=%#lx pte_mask=%#llx valid=%lu>%lu writable=%lu>%lu",
		  __entry->device, __entry->ctx, __entry->event, __entry->start,
		  __entry->end, __entry->pte_mask, __entry->valid_before,
		  __entry->valid_after, __entry->writable_before,
		  __entry->writable_after)
);

TRACE_EVENT(devmodel_invalidate,
	TP_PROTO(int device, u32 ctx, unsigned long start, unsigned long end, int ret),
	TP_ARGS(device, ctx, start, end, ret),
	TP_STRUCT__entry(
		__field(int, device)
		__field(u32, ctx)
		__field(unsigned long, start)
		__field(unsigned long, end)
		__field(int, ret)
	),
	TP_fast_assign(
		__entry->device = device;
		__entry->ctx = ctx;
		__entry->start = start;
		__entry->end = end;
		__entry->ret = ret;
	),
	TP_printk("device=%d ctx=%u start=%#lx end=%#lx ret=%d", __entry->device,
		  __entry->ctx, __entry->start, __entry->end, __entry->ret)
);

TRACE_EVENT(devmodel_fault,
	TP_PROTO(int device, const struct devmodel_fault_record *fault, int ret),
	TP_ARGS(device, fault, ret),
	TP_STRUCT__entry(
		__field(int, device)
		__field(u32, ctx)
		__field(u64, seq)
		__field(u64, va)
		__field(u32, npages)
		__field(u32, access)
		__field(int, ret)
	),
	TP_fast_assign(
		__entry->device = device;
		__entry->ctx = fault->ctx;
		__entry->seq = fault->seq;
		__entry->va = fault->va;
		__entry->npages = fault->npages;
		__entry->access = fault->access;
		__entry->ret = ret;
	),
	TP_printk("device=%d ctx=%u seq=%llu va=%#llx npages=%u access=%s ret=%d",
		  __entry->device, __entry->ctx, __entry->seq, __entry->va,
		  __entry->npages,
		  __print_symbolic(__entry->access, { DEVMODEL_ACCESS_READ, "read" },
				   { DEVMODEL_ACCESS_WRITE, "write" },
				   { DEVMODEL_ACCESS_ATOMIC, "atomic" },
				   { DEVMODEL_ACCESS_POISON, "poison" }),
		  __entry->ret)
);

TRACE_EVENT(devmodel_cpu_fault,
	TP_PROTO(int device, unsigned long address, bool served),
	TP_ARGS(device, address, served),
	TP_STRUCT__entry(
		__field(int, device)
		__field(unsigned long, address)
		__field(bool, served)
	),
	TP_fast_assign(
		__entry->device = device;
		__entry->address = address;
		__entry->served = served;
	),
	TP_printk("device=%d va=%#lx served=%d", __entry->device, __entry->address,
		  __entry->served)
);

TRACE_EVENT(devmodel_migrate,
	TP_PROTO(int from, int to, bool evicting, unsigned long start, unsigned long npages,
		 unsigned long moved, unsigned long failed),
	TP_ARGS(from, to, evicting, start, npages, moved, failed),
	TP_STRUCT__entry(
		__field(int, from)
		__field(int, to)
		__field(bool, evicting)
		__field(unsigned long, start)
		__field(unsigned long, npages)
		__field(unsigned long, moved)
		__field(unsigned long, failed)
	),
	TP_fast_assign(
		__entry->from = from;
		__entry->to = to;
		__entry->evicting = evicting;
		__entry->start = start;
		__entry->npages = npages;
		__entry->moved = moved;
		__entry->failed = failed;
	),
	/* Devices by number; -1 is system memory. Evicted pages are anybody's: no address. */
	TP_printk("from=%d to=%d evicting=%d va=%#lx npages=%lu moved=%lu failed=%lu",
		  __entry->from, __entry->to, __entry->evicting, __entry->start,
		  __entry->npages, __entry->moved, __entry->failed)
);

TRACE_EVENT(devmodel_evict,
	TP_PROTO(int device, unsigned long wanted, unsigned long evicted, unsigned long room),
	TP_ARGS(device, wanted, evicted, room),
	TP_STRUCT__entry(
		__field(int, device)
		__field(unsigned long, wanted)
		__field(unsigned long, evicted)
		__field(unsigned long, room)
	),
	TP_fast_assign(
		__entry->device = device;
		__entry->wanted = wanted;
		__entry->evicted = evicted;
		__entry->room = room;
	),
	TP_printk("device=%d wanted=%lu evicted=%lu free=%lu", __entry->device,
		  __entry->wanted, __entry->evicted, __entry->room)
);

TRACE_EVENT(devmodel_launch,
	TP_PROTO(int device, const struct devmodel_compute_command *command),
	TP_ARGS(device, command),
	TP_STRUCT__entry(
		__field(int, device)
		__field(u32, ctx)
		__field(u64, cookie)
		__array(char, program, 32)
	),
	TP_fast_assign(
		__entry->device = device;
		__entry->ctx = command->ctx;
		__entry->cookie = command->cookie;
		memcpy(__entry->program, command->program, 32);
	),
	TP_printk("device=%d ctx=%u cookie=%llu program=%.32s", __entry->device,
		  __entry->ctx, __entry->cookie, __entry->program)
);

TRACE_EVENT(devmodel_completion,
	TP_PROTO(int device, const struct devmodel_completion *done, const void *waiter),
	TP_ARGS(device, done, waiter),
	TP_STRUCT__entry(
		__field(int, device)
		__field(u64, cookie)
		__field(u32, engine)
		__field(u32, status)
		__field(bool, expected)
	),
	TP_fast_assign(
		__entry->device = device;
		__entry->cookie = done->cookie;
		__entry->engine = done->engine;
		__entry->status = done->status;
		__entry->expected = waiter;
	),
	TP_printk("device=%d cookie=%llu engine=%u status=%u%s", __entry->device,
		  __entry->cookie, __entry->engine, __entry->status,
		  __entry->expected ? "" : " (nobody waits)")
);

#endif /* _DEVMODEL_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
