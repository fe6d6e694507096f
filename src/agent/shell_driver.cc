// SPDX-License-Identifier: Apache-2.0
#include "agent/shell_driver.h"

#include <sys/random.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <string_view>

#include "base/shell_quote.h"

namespace atl::agent {
namespace {

// What stands for the prefix of names.
constexpr std::string_view kMark = "AT_";

// One line: bash counts the lines of its messages from it, and has read all of it before an alias
// can change a word. In order: away with our descriptors from where programs have theirs; the saved
// state; then for each command a line of its number, what it has, and its key. Words begin with
// `builtin` because commands may define functions of any name, and nothing that a command may have
// made read-only stays what it was: an assignment to it ends the shell. AT_v is never set, so
// [[ ${AT_v:?} ]] ends the shell, too, without a command that could have another meaning: there
// where what has just been tried does not do what it should. `$?` is what the last command left.
constexpr std::string_view kDriver =
    "exec 250<&0 251>&1 0</dev/null 1>/dev/null 2>/dev/null; AT_d=$1; AT_r=0; "
    "__atoll_f() { builtin return \"$1\"; }; builtin shopt -s expand_aliases; "
    "if [[ -n $2 ]]; then builtin set --; builtin . \"$AT_d/state\"; fi; AT_p=; builtin set --; "
    "while "
    // `continue 2` in a command comes here.
    "if [[ -n $AT_p ]]; then AT_q=$AT_p; AT_p=; builtin eval \"$AT_u\"; "
    "builtin printf 'L %s\\n' \"$AT_q\" >&251; fi; "
    "AT_l=(); builtin mapfile -t -n 1 -u 250 AT_l; [[ -n ${AT_l-} ]]; do "
    "AT_n=${AT_l%% *}; AT_x=${AT_l#* }; AT_k=${AT_x#* }; AT_x=${AT_x%% *}; "
    "AT_i=/dev/null; AT_e=; AT_u=; AT_t=; AT_a=(); AT_o=; AT_j=1; "
    "builtin printf 'B %s\\n' \"$AT_k\" >&251; "
    "if [[ $AT_x == *i* ]]; then AT_i=$AT_d/$AT_n.in; fi; "
    "if [[ $AT_x == *b* ]]; then AT_e=X; builtin . \"$AT_d/$AT_n.before\"; fi; "
    "builtin mapfile AT_a < \"$AT_d/$AT_n.cmd\"; builtin printf -v AT_t '%s' \"${AT_a[@]}\"; "
    "builtin eval 'AT_o=$AT_k'; "
    "if [[ -z $AT_t || $AT_o != \"$AT_k\" || $AT_e == X ]]; then [[ ${AT_v:?} ]]; fi; "
    "if [[ -n $AT_e ]]; then "
    "builtin eval \"$AT_u\"; builtin printf '%s %s\\n' \"$AT_e\" \"$AT_k\" >&251; else "
    // Once: `break` in a command leaves this loop.
    "AT_p=$AT_k; while [[ -n $AT_j ]]; do AT_j=; "
    "case $- in *e*) ;; *) __atoll_f \"$AT_r\" ;; esac; "
    "builtin eval \"$AT_t\" < \"$AT_i\" > \"$AT_d/$AT_n.out\" "
    "2> \"$AT_d/$AT_n.err\" 250<&- 251>&-; AT_r=$?; AT_p=; done; "
    "if [[ -z $AT_p ]]; then "
    "if [[ -n $AT_u ]]; then builtin eval \"$AT_u\"; fi; "
    "builtin printf -v AT_o '%s %s' \"$AT_k\" \"$AT_r\"; "
    "if [[ $AT_o != \"$AT_k $AT_r\" ]]; then [[ ${AT_v:?} ]]; fi; "
    "builtin printf 'R %s\\n' \"$AT_o\" >&251; "
    "AT_t=; AT_u=; AT_a=(); AT_l=(); "
    "{ builtin shopt -p; builtin declare -p; builtin declare -f; builtin declare -F; "
    "builtin alias -p; builtin trap -p; builtin umask -p; "
    "builtin printf '\\\\builtin cd -- %q\\n' \"${PWD-/}\"; builtin set +o; } "
    ">| \"$AT_d/$AT_n.saved\" && builtin printf 'S %s\\n' \"$AT_n\" >&251; fi; fi; done; "
    "if [[ -n $AT_p ]]; then builtin printf 'L %s\\n' \"$AT_p\" >&251; fi";

std::string Named(std::string_view text, const std::string& names) {
  std::string named;
  for (size_t at = text.find(kMark); at != std::string_view::npos; at = text.find(kMark)) {
    named += text.substr(0, at);
    named += names;
    text.remove_prefix(at + kMark.size());
  }
  return named.append(text);
}

}  // namespace

Result<std::string> NewShellKey() {
  uint64_t bits = 0;
  if (getrandom(&bits, sizeof(bits), 0) != sizeof(bits)) {
    return FailErrno(errno, "make a key for the shell");
  }
  std::string key;
  for (int digit = 0; digit < 16; ++digit, bits >>= 4U) key += "0123456789abcdef"[bits & 15U];
  return key;
}

std::string ShellDriver(const std::string& names) { return Named(kDriver, names); }

std::string BeforeScript(const std::string& names, const std::string& cwd,
                         const std::vector<std::pair<std::string, std::string>>& env) {
  if (cwd.empty() && env.empty()) return {};
  std::string script;
  if (!cwd.empty()) {
    script +=
        Named("AT_y=${PWD-/}; AT_z=${OLDPWD-}; if \\builtin cd -- ", names) + ShellQuoted(cwd) +
        Named("; then AT_u+='\\builtin cd -- \"$AT_y\"; OLDPWD=$AT_z; '; else AT_e=E; fi\n", names);
  }
  const std::string set_undo = Named("AT_w=", names);
  const std::string keep_undo = Named("; then AT_u+=$AT_w; else AT_e=V; fi\n", names);
  for (const auto& [name, value] : env) {
    script += "if [[ -v " + name + " ]]; then ";
    script += set_undo + "\"\\builtin unset -v " + name + "; ${" + name + "@A}; \"; else ";
    script += set_undo + "'\\builtin unset -v " + name + "; '; fi\n";
    script += "if \\builtin export " + name + "=" + ShellQuoted(value) + keep_undo;
  }
  return script + Named("if [[ $AT_e == X ]]; then AT_e=; fi\n", names);
}

}  // namespace atl::agent
