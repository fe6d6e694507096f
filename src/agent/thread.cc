// SPDX-License-Identifier: Apache-2.0
#include "agent/thread.h"

#include <pthread.h>

#include <exception>
#include <memory>

namespace atl::agent {
namespace {

constexpr size_t kStackBytes = 128U << 10U;

void* Main(void* argument) {
  std::unique_ptr<std::function<void()>> body(static_cast<std::function<void()>*>(argument));
  try {
    (*body)();
  } catch (const std::exception&) {
    // What the thread held is released; its client sees the connection end.
  }
  return nullptr;
}

}  // namespace

Result<void> StartThread(std::function<void()> body) {
  auto owned = std::make_unique<std::function<void()>>(std::move(body));
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_t thread{};
  int error = pthread_create(&thread, &attributes, Main, owned.get());
  pthread_attr_destroy(&attributes);
  if (error != 0) return FailErrno(error, "start a thread");
  (void)owned.release();
  return {};
}

}  // namespace atl::agent
