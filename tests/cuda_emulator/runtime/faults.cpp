#include "faults.h"

#include <dlfcn.h>

#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "failures.h"
#include "pages.h"
#include "scheduler.h"

namespace cuda_emulator {

volatile bool time_is_up;

namespace {

constexpr size_t SIGNAL_STACK_BYTES = 64 << 10;  // faults may come from a full stack

sigjmp_buf landing;
volatile bool running;
pid_t launching_thread;
double time_limit, deadline;
constexpr const char* TIMEOUT = "timeout: the kernel still runs after %g s";

pid_t thread_id() { return pid_t(syscall(SYS_gettid)); }

int timeout_signal() { return SIGRTMAX - 3; }

bool is_write(const ucontext_t* context) { return context->uc_mcontext.gregs[REG_ERR] & 2; }

void describe_access(char* text, size_t size, const Region* region, uintptr_t address, bool write) {
  const long offset = long(address - reinterpret_cast<uintptr_t>(region->begin));
  const bool inside = offset >= 0 && size_t(offset) < region->bytes;
  const bool shared = region->kind == RegionKind::Shared;
  char name[160];
  snprintf(name, sizeof name, shared ? "shared memory '%s' (%zu bytes)" : "{array}%.0s (%zu bytes)",
           region->name ? region->name : "", region->bytes);
  const char* what = !region->live ? "use after free" : inside && region->read_only ? "write to a const argument"
                                                                                    : "out of bounds";
  snprintf(text, size, "%s: %s at byte offset %ld of %s", what, write ? "write" : "read", offset, name);
}

constexpr int FAULTS[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
constexpr int SIGNALS = 5;  // those and the timeout's

// ---- the time limit: a timer of the launching thread's CPU time. Setting it costs as much as a small launch; it stays
// set from launch to launch and, when it fires, looks at how long the running one has taken.
thread_local struct {
  pid_t process;  // that the timer belongs to
  timer_t id;
  double fires_at;  // 0 when it is not set
} timer;

double cpu_seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
}

void set_timer(double at) {
  itimerspec when{};
  when.it_value.tv_sec = time_t(at);
  when.it_value.tv_nsec = long((at - double(when.it_value.tv_sec)) * 1e9);
  timer_settime(timer.id, TIMER_ABSTIME, &when, nullptr);
  timer.fires_at = at;
}

void limit_time(double seconds) {
  if (timer.process != getpid()) {
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = timeout_signal();
    event._sigev_un._tid = thread_id();
    timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer.id);
    timer.process = getpid();
    timer.fires_at = 0;
  }
  time_limit = seconds;
  time_is_up = false;
  deadline = cpu_seconds() + seconds;
  if (!timer.fires_at || timer.fires_at > deadline) set_timer(deadline);
}

// Whether the launch can be left now because its time is over. If it is over but the kernel's own code is not what
// runs, the runtime will see to it, or another signal that comes soon.
bool time_is_over(uintptr_t instruction) {
  constexpr double SOON = 0.002;
  timer.fires_at = 0;
  if (!running) return false;
  const double now = cpu_seconds();
  if (now < deadline) {
    set_timer(deadline);
    return false;
  }
  Dl_info here{}, kernel{};
  const bool in_kernel = dladdr(reinterpret_cast<void*>(instruction), &here) &&
                         dladdr(reinterpret_cast<void*>(execution.kernel), &kernel) &&
                         here.dli_fbase == kernel.dli_fbase;
  if (!in_kernel && now < deadline + 1) {
    time_is_up = true;
    set_timer(now + SOON);
    return false;
  }
  return true;
}

void on_signal(int signal_number, siginfo_t* info, void* context_pointer) {
  const bool timeout = signal_number == timeout_signal();
  const ucontext_t* context = static_cast<ucontext_t*>(context_pointer);
  // As if it were a return address: one past the start of the instruction.
  const uintptr_t instruction = uintptr_t(context->uc_mcontext.gregs[REG_RIP]) + 1;
  if (timeout) {
    if (thread_id() != launching_thread || !time_is_over(instruction)) return;
  } else if (!running || thread_id() != launching_thread) {
    signal(signal_number, SIG_DFL);  // none of ours: let it happen again, the usual way
    return;
  }
  const uintptr_t address = reinterpret_cast<uintptr_t>(info->si_addr);
  uint64_t array = 0;
  char text[400];
  if (timeout) {
    snprintf(text, sizeof text, TIMEOUT, time_limit);
  } else if (signal_number == SIGFPE) {
    snprintf(text, sizeof text, "integer division by zero");
  } else if (signal_number == SIGILL) {
    snprintf(text, sizeof text, "a trap instruction: code that may not be reached");
  } else if (const Region* region = find_region(address)) {
    if (region->kind == RegionKind::Array) array = reinterpret_cast<uint64_t>(region->begin);
    describe_access(text, sizeof text, region, address, is_write(context));
  } else if (current && in_stack_guard(current->fiber, address)) {
    snprintf(text, sizeof text, "stack overflow: more than %zu bytes of local variables", STACK_BYTES);
  } else if (address < PAGE) {
    // The CPU tells no address for a misaligned vector access.
    snprintf(text, sizeof text, address ? "null pointer: %s at address %#lx" : "null pointer or misaligned vector %s",
             is_write(context) ? "write" : "read", static_cast<unsigned long>(address));
  } else {
    snprintf(text, sizeof text, "bad pointer: %s at address %#lx", is_write(context) ? "write" : "read",
             static_cast<unsigned long>(address));
  }
  record(instruction, array, text);
  reports.stopped = 1;
  siglongjmp(landing, 1);
}

}  // namespace

void fail_for_time(uintptr_t caller) { fail(caller, TIMEOUT, time_limit); }

void run_guarded(void (*work)(), double timeout) {
  static char* signal_stack = map_pages(SIGNAL_STACK_BYTES, PROT_READ | PROT_WRITE);
  stack_t stack{}, old_stack{};
  stack.ss_sp = signal_stack;
  stack.ss_size = SIGNAL_STACK_BYTES;
  sigaltstack(&stack, &old_stack);
  struct sigaction action {}, old_actions[SIGNALS];
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER;  // the last: a jump leaves no signal blocked
  const int signals[SIGNALS] = {FAULTS[0], FAULTS[1], FAULTS[2], FAULTS[3], timeout_signal()};
  for (int i = 0; i < SIGNALS; i++) sigaction(signals[i], &action, &old_actions[i]);
  launching_thread = thread_id();
  limit_time(timeout);

  if (!sigsetjmp(landing, 0)) {
    running = true;
    work();
  }
  running = false;

  // The timer may still fire, so its handler stays.
  for (int i = 0; i < SIGNALS - 1; i++) sigaction(signals[i], &old_actions[i], nullptr);
  sigaltstack(&old_stack, nullptr);
}

}  // namespace cuda_emulator
