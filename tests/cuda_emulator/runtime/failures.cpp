#include "failures.h"

#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "exported.h"
#include "scheduler.h"

namespace cuda_emulator {

Reports reports;

namespace {

const Region* noted_in[MAX_REPORTS];  // beside `reports`: where each note belongs

std::string format_list(const char* text, va_list arguments) {
  char buffer[1024];
  vsnprintf(buffer, sizeof buffer, text, arguments);
  return buffer;
}

uint64_t array_begin(const Region* region) {
  return region && region->kind == RegionKind::Array ? reinterpret_cast<uint64_t>(region->begin) : 0;
}

}  // namespace

std::string format(const char* text, ...) {
  va_list arguments;
  va_start(arguments, text);
  std::string result = format_list(text, arguments);
  va_end(arguments);
  return result;
}

std::string place(Site site) {
  const char* slash = strrchr(site.file, '/');
  return format("%s:%d", slash ? slash + 1 : site.file, site.line);
}

std::string describe(const Region* region) {
  if (region->kind == RegionKind::Array) return format("{array} (%zu bytes)", region->bytes);
  return format("shared memory '%s' (%zu bytes)", region->name, region->bytes);
}

void record(uintptr_t address, uint64_t array, const char* text) {
  if (reports.count >= MAX_REPORTS) reports.count = MAX_REPORTS - 1;  // what ended the launch matters most
  Report& report = reports.report[reports.count++];
  report.address = address;
  report.other_address = 0;
  report.array = array;
  int length = snprintf(report.text, sizeof report.text - 120, "%s", text);
  if (length > int(sizeof report.text) - 121) length = int(sizeof report.text) - 121;
  if (current) {
    snprintf(report.text + length, 120, " [block (%u,%u,%u), thread (%u,%u,%u)]", blockIdx.x, blockIdx.y, blockIdx.z,
             current->index.x, current->index.y, current->index.z);
  }
}

void fail(uintptr_t address, const char* text, ...) {
  {
    va_list arguments;
    va_start(arguments, text);
    record(address, 0, format_list(text, arguments).c_str());
    va_end(arguments);
  }
  reports.stopped = 1;
  leave_block();
}

void fail_in(const Region* region, uintptr_t address, const char* text, ...) {
  {
    va_list arguments;
    va_start(arguments, text);
    record(address, array_begin(region), format_list(text, arguments).c_str());
    va_end(arguments);
  }
  reports.stopped = 1;
  leave_block();
}

void note(const Region* region, uintptr_t address, uintptr_t other_address, const std::string& text) {
  // One wrong line makes many reports, with different offsets and threads: a few of each kind are enough.
  constexpr int ENOUGH = 3;
  int alike = 0;
  for (int i = 0; i < reports.count; i++) {
    const Report& report = reports.report[i];
    if (report.text[0] != text[0]) continue;
    if (report.address == address && report.other_address == other_address) return;
    if (noted_in[i] == region && ++alike == ENOUGH) return;
  }
  if (reports.count >= MAX_REPORTS) return;
  noted_in[reports.count] = region;
  record(address, array_begin(region), text.c_str());
  reports.report[reports.count - 1].other_address = other_address;
}

}  // namespace cuda_emulator

EXPORTED void cuda_emulator_stop(const char* reason, const char* file, int line) {
  cuda_emulator::fail(RETURN_ADDRESS, "%s at %s", reason, cuda_emulator::place({file, line}).c_str());
}
