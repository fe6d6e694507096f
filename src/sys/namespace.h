// SPDX-License-Identifier: Apache-2.0
// Entering a namespace is a property of a thread: what has to happen inside runs on a thread of its
// own, which ends afterwards, so that no pooled thread ever stays in a sandbox's namespace.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string_view>
#include <type_traits>

#include "base/result.h"
#include "sys/fd.h"

namespace atl::sys {

// `kind`: net, user, mnt, pid, ipc, uts, cgroup.
Result<Fd> OpenNamespace(pid_t pid, std::string_view kind);
// "net:[4026531840]"
Result<std::string> NamespaceId(pid_t pid, std::string_view kind);

// The host name of the process that `pidfd` is open on; another one is given from outside, for a
// sandbox's own root may not. Blocking.
Result<std::string> HostnameOf(int pidfd);
Result<void> SetHostname(int pidfd, const std::string& name);

// Runs `function` to its end on a fresh thread inside the network namespace. Blocking.
Result<void> RunInNetworkNamespaceErased(int net_namespace, const std::function<void()>& function);

// `function` returns Result<T>; so does this.
template <class Function>
auto RunInNetworkNamespace(int net_namespace, Function function) -> std::invoke_result_t<Function> {
  std::optional<std::invoke_result_t<Function>> result;
  TRY(RunInNetworkNamespaceErased(net_namespace, [&] { result.emplace(function()); }));
  return *std::move(result);
}

// The same inside the mount namespace of the process that `pidfd` is open on: paths begin at its
// root, the working directory is the thread's own.
Result<void> RunInMountNamespaceErased(int pidfd, const std::function<void()>& function);

template <class Function>
auto RunInMountNamespace(int pidfd, Function function) -> std::invoke_result_t<Function> {
  std::optional<std::invoke_result_t<Function>> result;
  TRY(RunInMountNamespaceErased(pidfd, [&] { result.emplace(function()); }));
  return *std::move(result);
}

}  // namespace atl::sys
