// SPDX-License-Identifier: Apache-2.0
#include "oci/seccomp.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <set>

#include "oci/bundle.h"
#include "sys/fd.h"

namespace atl::oci {
namespace {

namespace json = boost::json;

// Every flag of clone and unshare that makes a namespace.
constexpr uint64_t kNamespaceFlags = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                     CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | 0x80;  // time

// Part of Podman's list so that containers can be nested, which needs privileges that a sandbox
// does not have; Docker's list allows them with CAP_SYS_ADMIN alone. To leave them out takes most
// of the mount and namespace code of the kernel out of a sandbox's reach.
const std::set<std::string_view> kRefused = {
    "mount",      "umount",        "umount2",           "mount_setattr", "move_mount",
    "open_tree",  "fsopen",        "fsconfig",          "fsmount",       "fspick",
    "pivot_root", "setns",         "unshare",           "keyctl",        "reboot",
    "syslog",     "fanotify_mark", "name_to_handle_at", "add_key",       "request_key"};

struct Filter {
  explicit Filter(uint32_t default_action) : context(seccomp_init(default_action)) {}
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;
  ~Filter() { seccomp_release(context); }
  scmp_filter_ctx context;
};

// Tells apart the profiles that this host had: it is root's own file.
uint64_t Fnv1a(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (unsigned char byte : text) hash = (hash ^ byte) * 0x100000001b3;
  return hash;
}

std::string_view NativeArch() {
#if defined(__x86_64__)
  return "amd64";
#elif defined(__aarch64__)
  return "arm64";
#else
#error "add the profile's name of this architecture"
#endif
}

// Whether a list of strings in `conditions[key]` holds one that `matches`.
template <class Predicate>
bool AnyOf(const json::object& conditions, std::string_view key, Predicate matches) {
  const json::value* list = conditions.if_contains(key);
  if (list == nullptr || !list->is_array()) return false;
  return std::ranges::any_of(list->get_array(), [&](const json::value& item) {
    return item.is_string() && matches(std::string_view(item.get_string()));
  });
}

bool Has(const json::object& conditions, std::string_view key) {
  const json::value* list = conditions.if_contains(key);
  return list != nullptr && list->is_array() && !list->get_array().empty();
}

std::pair<int, int> KernelVersion() {
  utsname name{};
  ::uname(&name);
  int major = 0;
  int minor = 0;
  (void)std::sscanf(name.release, "%d.%d", &major, &minor);
  return {major, minor};
}

bool KernelAtLeast(std::string_view version) {
  int major = 0;
  int minor = 0;
  (void)std::sscanf(std::string(version).c_str(), "%d.%d", &major, &minor);
  return KernelVersion() >= std::pair(major, minor);
}

const json::object& ObjectOr(const json::object& parent, std::string_view key) {
  static const json::object empty;
  const json::value* value = parent.if_contains(key);
  return value != nullptr && value->is_object() ? value->get_object() : empty;
}

// `includes` must all hold, `excludes` must none.
bool Applies(const json::object& rule, const std::set<std::string>& capabilities) {
  auto held = [&](std::string_view name) { return capabilities.contains(std::string(name)); };
  auto missing = [&](std::string_view name) { return !held(name); };
  auto native = [](std::string_view name) { return name == NativeArch(); };
  const json::object& includes = ObjectOr(rule, "includes");
  const json::object& excludes = ObjectOr(rule, "excludes");
  if (AnyOf(includes, "caps", missing)) return false;
  if (Has(includes, "arches") && !AnyOf(includes, "arches", native)) return false;
  if (const json::value* kernel = includes.if_contains("minKernel");
      kernel != nullptr && kernel->is_string() &&
      !KernelAtLeast(std::string_view(kernel->get_string()))) {
    return false;
  }
  return !AnyOf(excludes, "caps", held) && !AnyOf(excludes, "arches", native);
}

Result<uint32_t> ActionOf(const json::object& rule, std::string_view key, unsigned default_errno) {
  const json::value* value = rule.if_contains(key);
  std::string_view name;
  if (value != nullptr && value->is_string()) name = value->get_string();
  if (name == "SCMP_ACT_ALLOW") return SCMP_ACT_ALLOW;
  if (name == "SCMP_ACT_KILL_PROCESS") return SCMP_ACT_KILL_PROCESS;
  if (name == "SCMP_ACT_KILL" || name == "SCMP_ACT_KILL_THREAD") return SCMP_ACT_KILL;
  if (name == "SCMP_ACT_TRAP") return SCMP_ACT_TRAP;
  if (name == "SCMP_ACT_LOG") return SCMP_ACT_LOG;
  if (name == "SCMP_ACT_ERRNO") {
    const json::value* number = rule.if_contains("errnoRet");
    int64_t err = number != nullptr && number->is_int64() ? number->get_int64() : default_errno;
    if (err < 0 || err > 4095) return Fail(Code::kInvalidArgument, "an errnoRet out of range");
    return SCMP_ACT_ERRNO(static_cast<uint32_t>(err));
  }
  return Fail(Code::kInvalidArgument, fmt::format("unknown action '{}'", name));
}

uint64_t NumberOf(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr) return 0;
  if (value->is_uint64()) return value->get_uint64();
  if (value->is_int64()) return static_cast<uint64_t>(value->get_int64());
  return 0;
}

Result<std::vector<scmp_arg_cmp>> ArgumentsOf(const json::object& rule) {
  static constexpr std::array<std::pair<std::string_view, scmp_compare>, 7> kOperators = {
      {{"SCMP_CMP_NE", SCMP_CMP_NE},
       {"SCMP_CMP_LT", SCMP_CMP_LT},
       {"SCMP_CMP_LE", SCMP_CMP_LE},
       {"SCMP_CMP_EQ", SCMP_CMP_EQ},
       {"SCMP_CMP_GE", SCMP_CMP_GE},
       {"SCMP_CMP_GT", SCMP_CMP_GT},
       {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ}}};
  std::vector<scmp_arg_cmp> arguments;
  const json::value* list = rule.if_contains("args");
  if (list == nullptr || !list->is_array()) return arguments;
  for (const json::value& item : list->get_array()) {
    if (!item.is_object()) return Fail(Code::kInvalidArgument, "an argument that is no object");
    const json::object& argument = item.get_object();
    const json::value* name = argument.if_contains("op");
    auto found = std::ranges::find_if(kOperators, [&](const auto& entry) {
      return name != nullptr && name->is_string() && name->get_string() == entry.first;
    });
    uint64_t index = NumberOf(argument, "index");
    if (found == kOperators.end() || index > 5) {
      return Fail(Code::kInvalidArgument, "an argument with an unknown operator or index");
    }
    arguments.push_back({.arg = static_cast<unsigned>(index),
                         .op = found->second,
                         .datum_a = NumberOf(argument, "value"),
                         .datum_b = NumberOf(argument, "valueTwo")});
  }
  return arguments;
}

// Adds one rule. The same action for the same system call twice, or one that is the default, is
// no fault: profiles have those.
Result<void> Add(Filter& filter, uint32_t action, int number,
                 const std::vector<scmp_arg_cmp>& arguments, std::string_view name) {
  int failed = seccomp_rule_add_array(filter.context, action, number,
                                      static_cast<unsigned>(arguments.size()), arguments.data());
  if (failed == 0 || failed == -EEXIST || failed == -EACCES) return {};
  return FailErrno(-failed, fmt::format("adding the rule for {}", name));
}

scmp_arg_cmp Equal(unsigned argument, uint64_t value) {
  return {.arg = argument, .op = SCMP_CMP_EQ, .datum_a = value, .datum_b = 0};
}

// Sockets of the families that sandboxes need. The others are doors to the host (AF_VSOCK knows no
// network namespace) or code that nobody there has a use for. For the native architecture alone:
// its 32-bit twin has socketcall, whose family no filter can see, so 32-bit programs have no
// sockets.
Result<void> AddSocketRules(Filter& filter) {
  for (int family = 0; family < AF_MAX; ++family) {
    if (family == AF_NETLINK) continue;
    bool wanted = family == AF_UNIX || family == AF_INET || family == AF_INET6;
    uint32_t action = wanted ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(EAFNOSUPPORT);
    TRY(Add(filter, action, SCMP_SYS(socket), {Equal(0, static_cast<uint64_t>(family))}, "socket"));
  }
  // Of netlink what `ip` and `ss` ask: NETLINK_ROUTE and NETLINK_SOCK_DIAG.
  for (uint64_t protocol : {0, 4}) {
    TRY(Add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), {Equal(0, AF_NETLINK), Equal(2, protocol)},
            "socket"));
  }
  return {};
}

// What this project decides whatever the profile says.
Result<void> AddOwnRules(Filter& filter, SeccompFilter& result) {
  for (std::string_view name : kRefused) {
    int number = seccomp_syscall_resolve_name(std::string(name).c_str());
    if (number == __NR_SCMP_ERROR) continue;
    TRY(Add(filter, SCMP_ACT_ERRNO(EPERM), number, {}, name));
    ++result.rules;
  }
  std::vector<scmp_arg_cmp> none = {
      {.arg = 0, .op = SCMP_CMP_MASKED_EQ, .datum_a = kNamespaceFlags, .datum_b = 0}};
  TRY(Add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), none, "clone"));
  for (uint64_t bit = 1; bit != 0 && bit <= kNamespaceFlags; bit <<= 1U) {
    if ((kNamespaceFlags & bit) == 0) continue;
    std::vector<scmp_arg_cmp> some = {
        {.arg = 0, .op = SCMP_CMP_MASKED_EQ, .datum_a = bit, .datum_b = bit}};
    TRY(Add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), some, "clone"));
  }
  // Limits of oneself only: a program could otherwise starve PID 1, which has its user id.
  TRY(Add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), {Equal(0, 0)}, "prlimit64"));
  TRY(Add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), {Equal(2, 0)}, "prlimit64"));
  // ENOSYS: libc then falls back to clone.
  TRY(Add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), {}, "clone3"));
  return {};
}

Result<void> AddProfileRule(Filter& filter, const json::object& rule, SeccompFilter& result) {
  ASSIGN(uint32_t action, ActionOf(rule, "action", EPERM));
  ASSIGN(auto arguments, ArgumentsOf(rule));
  const json::value* names = rule.if_contains("names");
  if (names == nullptr || !names->is_array()) {
    return Fail(Code::kInvalidArgument, "a rule without names");
  }
  for (const json::value& item : names->get_array()) {
    if (!item.is_string()) return Fail(Code::kInvalidArgument, "a name that is no string");
    std::string name(item.get_string());
    if (kRefused.contains(name) || name == "clone" || name == "clone3" || name == "socket" ||
        name == "socketcall" || name == "prlimit64") {
      continue;
    }
    int number = seccomp_syscall_resolve_name(name.c_str());
    if (number == __NR_SCMP_ERROR) {
      result.unknown.push_back(name);
      continue;
    }
    TRY(Add(filter, action, number, arguments, name));
    ++result.rules;
  }
  return {};
}

Result<std::string> Export(const Filter& filter) {
  sys::Fd file(::memfd_create("seccomp", MFD_CLOEXEC));
  if (!file) return FailErrno(errno, "memfd_create");
  int failed = seccomp_export_bpf(filter.context, file.get());
  if (failed != 0) return FailErrno(-failed, "compiling the system call filter");
  return sys::ReadFile(fmt::format("/proc/self/fd/{}", file.get()), 1U << 20U);
}

// The 32-bit twin of the native architecture, so that 32-bit programs are filtered too, not killed.
Result<void> AddArchitectures(Filter& filter) {
#if defined(__x86_64__)
  for (uint32_t arch : {uint32_t{SCMP_ARCH_X86}, uint32_t{SCMP_ARCH_X32}}) {
#else
  for (uint32_t arch : {uint32_t{SCMP_ARCH_ARM}}) {
#endif
    int failed = seccomp_arch_add(filter.context, arch);
    if (failed != 0 && failed != -EEXIST) return FailErrno(-failed, "adding an architecture");
  }
  return {};
}

}  // namespace

std::string SeccompFilter::Base64() const {
  static constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bpf.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bpf.size(); i += 3) {
    uint32_t group = 0;
    size_t have = std::min<size_t>(3, bpf.size() - i);
    for (size_t j = 0; j < 3; ++j) {
      group = (group << 8U) | (j < have ? static_cast<unsigned char>(bpf[i + j]) : 0U);
    }
    for (size_t j = 0; j < 4; ++j) {
      out += j <= have ? kDigits[(group >> (18 - 6 * j)) & 63U] : '=';
    }
  }
  return out;
}

Result<SeccompFilter> CompileSeccomp(std::string_view profile,
                                     const std::vector<std::string>& capabilities) {
  boost::system::error_code failure;
  json::value document = json::parse(json::string_view(profile.data(), profile.size()), failure);
  if (failure || !document.is_object()) {
    return Fail(Code::kInvalidArgument, "the system call profile is not a JSON object");
  }
  const json::object& root = document.get_object();
  const json::value* default_errno = root.if_contains("defaultErrnoRet");
  uint64_t number = default_errno != nullptr ? NumberOf(root, "defaultErrnoRet") : ENOSYS;
  Filter filter(SCMP_ACT_ERRNO(static_cast<uint32_t>(number & 0xfffU)));
  if (filter.context == nullptr) return Fail(Code::kInternal, "seccomp_init failed");
  TRY(AddSocketRules(filter));
  TRY(AddArchitectures(filter));
  // A binary tree instead of a list: a system call passes a dozen comparisons, not hundreds.
  (void)seccomp_attr_set(filter.context, SCMP_FLTATR_CTL_OPTIMIZE, 2);

  SeccompFilter result;
  const json::value* rules = root.if_contains("syscalls");
  if (rules == nullptr || !rules->is_array() || rules->get_array().empty()) {
    return Fail(Code::kInvalidArgument, "the system call profile has no rules");
  }
  std::set<std::string> held(capabilities.begin(), capabilities.end());
  for (const json::value& rule : rules->get_array()) {
    if (!rule.is_object()) return Fail(Code::kInvalidArgument, "a rule that is no object");
    if (Applies(rule.get_object(), held)) {
      TRY(AddProfileRule(filter, rule.get_object(), result));
    }
  }
  TRY(AddOwnRules(filter, result));
  ASSIGN(result.bpf, Export(filter));
  return result;
}

// The cache file: one line that says what it was made from, one line of base64.
Result<std::string> LoadSeccomp(const std::string& profile_path, const std::string& cache_file) {
  auto profile = sys::ReadFile(profile_path, 4U << 20U);
  if (!profile) {
    return Unexpected(std::move(profile).error().Wrap("reading the system call profile"));
  }
  const scmp_version* version = seccomp_version();
  std::string key = fmt::format("5 {} {}.{}.{} {}.{}", NativeArch(), version->major, version->minor,
                                version->micro, KernelVersion().first, KernelVersion().second);
  for (const std::string& capability : Capabilities()) key += " " + capability;
  key += fmt::format(" {:016x}", Fnv1a(*profile));
  if (auto cached = sys::ReadFile(cache_file, 4U << 20U);
      cached && cached->starts_with(key + "\n") && cached->ends_with("\n")) {
    return cached->substr(key.size() + 1, cached->size() - key.size() - 2);
  }
  ASSIGN(SeccompFilter filter, CompileSeccomp(*profile, Capabilities()));
  std::string base64 = filter.Base64();
  TRY(sys::WriteFileAtomic(cache_file, fmt::format("{}\n{}\n", key, base64), 0600));
  return base64;
}

}  // namespace atl::oci
