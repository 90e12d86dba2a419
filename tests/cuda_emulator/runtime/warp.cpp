#include "warp.h"

#include <cstring>
#include <deque>
#include <vector>

#include "exported.h"
#include "failures.h"
#include "faults.h"
#include "shadow.h"

namespace cuda_emulator {

namespace {

std::deque<WarpGroup> all_groups;
std::vector<WarpGroup*> unused_groups;

WarpGroup* new_group(Warp& warp, const char* operation, uint32_t mask, Site site) {
  if (unused_groups.empty()) {
    all_groups.emplace_back();
    unused_groups.push_back(&all_groups.back());
  }
  WarpGroup* group = unused_groups.back();
  unused_groups.pop_back();
  group->operation = operation;
  group->site = site;
  group->mask = mask;
  group->arrived = group->unread = 0;
  group->complete = false;
  group->next = warp.open;
  warp.open = group;
  return group;
}

// The open operation that a lane joins, if there is one. Lanes that wait for each other in two different operations
// would wait for ever.
WarpGroup* find_group(Warp& warp, const char* operation, uint32_t mask, Site site, uintptr_t caller) {
  const uint32_t bit = 1u << current->lane;
  for (WarpGroup* group = warp.open; group; group = group->next) {
    const bool same_place = group->site.line == site.line && group->site.file == site.file;
    if (group->mask == mask && same_place && group->operation == operation) return group;
    if ((group->mask & bit) && (mask & group->arrived)) {
      fail(caller,
           "warp divergence: lane %d calls %s(mask %08x) at %s while lanes %08x wait for it in %s(mask %08x) at %s",
           current->lane, operation, mask, place(site).c_str(), group->arrived, group->operation, group->mask,
           place(group->site).c_str());
    }
  }
  return nullptr;
}

// Frees the lanes that wait, once all have come that have not ended.
void complete_if_all_came(Warp& warp, int warp_number, WarpGroup* group) {
  if (group->complete || group->arrived != (group->mask & warp.live)) return;
  group->complete = true;
  group->unread = group->arrived;
  WarpGroup** link = &warp.open;
  while (*link != group) link = &(*link)->next;
  *link = group->next;
  // Shuffles and votes exchange values but, by CUDA's rules, do not order memory accesses.
  if (!strcmp(group->operation, "__syncwarp")) lanes_synchronised(warp_number, group->arrived);
  const int first = warp_number * WARP_LANES;
  for (int i = 0; i < WARP_LANES; i++) {
    // The last one added runs first.
    const int lane = execution.order == Order::Reverse ? i : WARP_LANES - 1 - i;
    if (!(group->arrived >> lane & 1)) continue;
    Thread& thread = threads[first + lane];
    if (thread.state == ThreadState::InWarpOperation && thread.group == group) make_ready(&thread);
  }
}

}  // namespace

void reset_warp_groups() {
  if (unused_groups.size() == all_groups.size()) return;
  unused_groups.clear();
  for (WarpGroup& group : all_groups) unused_groups.push_back(&group);
}

void lane_ended(Thread* lane) {
  Warp& warp = warps[lane->warp];
  warp.live &= ~(1u << lane->lane);
  for (WarpGroup* group = warp.open; group;) {
    WarpGroup* next = group->next;
    complete_if_all_came(warp, lane->warp, group);
    group = next;
  }
}

}  // namespace cuda_emulator

// ---- what kernels call
namespace cuda_emulator {

EXPORTED WarpGroup* cuda_emulator_warp_meet(const char* operation, uint32_t mask, uint64_t value, const char* file,
                                            int line) {
  const Site site{file, line};
  Thread* lane = current;
  Warp& warp = warps[lane->warp];
  const uint32_t bit = 1u << lane->lane;
  if (time_is_up) fail_for_time(RETURN_ADDRESS);
  if (!(mask & bit)) {
    fail(RETURN_ADDRESS, "%s at %s: mask %08x lacks the calling lane %d", operation, place(site).c_str(), mask,
         lane->lane);
  }
  WarpGroup* group = find_group(warp, operation, mask, site, RETURN_ADDRESS);
  if (!group) group = new_group(warp, operation, mask, site);
  group->value[lane->lane] = value;
  group->arrived |= bit;
  complete_if_all_came(warp, lane->warp, group);
  if (group->complete) return group;
  lane->state = ThreadState::InWarpOperation;
  lane->operation = operation;
  lane->site = site;
  lane->group = group;
  wait_for_others();
  return group;
}

EXPORTED void cuda_emulator_warp_read(WarpGroup* group) {
  group->unread &= ~(1u << cuda_emulator_lane);
  if (!group->unread) unused_groups.push_back(group);
}

EXPORTED void cuda_emulator_bad_source_lane(const char* operation, int lane, const char* file, int line) {
  fail(RETURN_ADDRESS, "%s at %s: lane %d reads lane %d, which takes no part", operation, place({file, line}).c_str(),
       cuda_emulator_lane, lane);
}

EXPORTED uint32_t cuda_emulator_live_lanes() { return warps[current->warp].live; }

}  // namespace cuda_emulator
