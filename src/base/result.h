// SPDX-License-Identifier: Apache-2.0
// Result<T> and Error: how everything that can fail at run time says so.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace atl {

// The kind of a failure. Each maps to one HTTP status (HttpStatus).
enum class Code {
  kInvalidArgument,     // 400: the caller's input is wrong
  kUnauthenticated,     // 401
  kPermissionDenied,    // 403
  kNotFound,            // 404
  kTimeout,             // 408: a limit that the caller set or knows of has passed
  kAlreadyExists,       // 409
  kFailedPrecondition,  // 409: right request, wrong state
  kGone,                // 410
  kTooLarge,            // 413
  kResourceExhausted,   // 503: memory, ids, descriptors or disk have run out
  kUnavailable,         // 503: try again
  kBadGateway,          // 502: what we depend on upstream failed
  kCancelled,           // 499: nobody waits for the answer any more
  kInternal,            // 500
};

// What was tried, on what, and why it failed. `reason` is the SCREAMING_SNAKE code that clients
// see; empty means the code's default (DefaultReason). `sys_errno` is 0 unless a system call
// failed.
struct Error {
  Code code = Code::kInternal;
  std::string message;
  std::string reason;
  int sys_errno = 0;

  // "what: message", for wrapping on the way up.
  Error Wrap(std::string_view what) &&;
};

template <class T>
using Result = std::expected<T, Error>;

using Unexpected = std::unexpected<Error>;

// `return Fail(Code::kNotFound, "no sandbox named demo")`
Unexpected Fail(Code code, std::string message, std::string reason = {});

// Captures `err` (pass errno first, before anything can change it) as "what: strerror". Chooses
// the code from the errno: ENOENT is kNotFound, ENOSPC kResourceExhausted with NO_SPACE, and so on.
Error ErrnoError(int err, std::string_view what);
Unexpected FailErrno(int err, std::string_view what);

int HttpStatus(Code code);
std::string_view DefaultReason(Code code);
// `error.reason`, or the default of its code.
std::string_view ReasonOf(const Error& error);

}  // namespace atl

#define ATOLL_CONCAT_IMPL(a, b) a##b
#define ATOLL_CONCAT(a, b) ATOLL_CONCAT_IMPL(a, b)

// Statements, not expressions: TRY(Check()); ASSIGN(auto fd, Open(path)); and their co_ twins for
// coroutines, whose right-hand side may be a co_await.
#define ATOLL_TRY_IMPL(tmp, ret, expr)                       \
  do {                                                       \
    auto tmp = (expr);                                       \
    if (!tmp) ret ::std::unexpected(std::move(tmp).error()); \
  } while (false)
#define TRY(...) ATOLL_TRY_IMPL(ATOLL_CONCAT(try_, __COUNTER__), return, (__VA_ARGS__))

#define ATOLL_ASSIGN_IMPL(tmp, ret, decl, ...)             \
  auto tmp = __VA_ARGS__;                                  \
  if (!tmp) ret ::std::unexpected(std::move(tmp).error()); \
  decl = *std::move(tmp)
#define ASSIGN(decl, ...) \
  ATOLL_ASSIGN_IMPL(ATOLL_CONCAT(assign_, __COUNTER__), return, decl, __VA_ARGS__)
#define CO_ASSIGN(decl, ...) \
  ATOLL_ASSIGN_IMPL(ATOLL_CONCAT(assign_, __COUNTER__), co_return, decl, __VA_ARGS__)

#define ATOLL_CO_TRY_IMPL(tmp, ...) \
  auto tmp = __VA_ARGS__;           \
  if (!tmp) co_return ::std::unexpected(std::move(tmp).error())
#define CO_TRY(...) ATOLL_CO_TRY_IMPL(ATOLL_CONCAT(try_, __COUNTER__), __VA_ARGS__)
