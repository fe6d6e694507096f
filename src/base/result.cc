// SPDX-License-Identifier: Apache-2.0
#include "base/result.h"

#include <fmt/format.h>

#include <cerrno>
#include <system_error>

namespace atl {
namespace {

struct ErrnoMeaning {
  Code code;
  std::string_view reason;
};

ErrnoMeaning MeaningOf(int err) {
  switch (err) {
    case ENOENT:
      return {.code = Code::kNotFound, .reason = "FILE_NOT_FOUND"};
    case EEXIST:
      return {.code = Code::kAlreadyExists, .reason = "FILE_EXISTS"};
    case ENOTDIR:
      return {.code = Code::kInvalidArgument, .reason = "NOT_DIRECTORY"};
    case EISDIR:
      return {.code = Code::kInvalidArgument, .reason = "IS_DIRECTORY"};
    case ENAMETOOLONG:
      return {.code = Code::kInvalidArgument, .reason = "NAME_TOO_LONG"};
    case EACCES:
    case EPERM:
      return {.code = Code::kPermissionDenied, .reason = "PERMISSION_DENIED"};
    case EROFS:
      return {.code = Code::kPermissionDenied, .reason = "READ_ONLY"};
    case ENOSPC:
    case EDQUOT:
      return {.code = Code::kResourceExhausted, .reason = "NO_SPACE"};
    case EMFILE:
    case ENFILE:
      return {.code = Code::kResourceExhausted, .reason = "TOO_MANY_FILES"};
    case ENOMEM:
    case EAGAIN:
      return {.code = Code::kResourceExhausted, .reason = {}};
    case ETIMEDOUT:
      return {.code = Code::kTimeout, .reason = {}};
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case EHOSTUNREACH:
    case ENETUNREACH:
      return {.code = Code::kUnavailable, .reason = {}};
    case ECANCELED:
      return {.code = Code::kCancelled, .reason = {}};
    default:
      return {.code = Code::kInternal, .reason = {}};
  }
}

}  // namespace

Error Error::Wrap(std::string_view what) && {
  message = fmt::format("{}: {}", what, message);
  return std::move(*this);
}

Unexpected Fail(Code code, std::string message, std::string reason) {
  return Unexpected(
      Error{.code = code, .message = std::move(message), .reason = std::move(reason)});
}

Error ErrnoError(int err, std::string_view what) {
  ErrnoMeaning meaning = MeaningOf(err);
  return Error{.code = meaning.code,
               .message = fmt::format("{}: {}", what, std::generic_category().message(err)),
               .reason = std::string(meaning.reason),
               .sys_errno = err};
}

Unexpected FailErrno(int err, std::string_view what) { return Unexpected(ErrnoError(err, what)); }

int HttpStatus(Code code) {
  switch (code) {
    case Code::kInvalidArgument:
      return 400;
    case Code::kUnauthenticated:
      return 401;
    case Code::kPermissionDenied:
      return 403;
    case Code::kNotFound:
      return 404;
    case Code::kTimeout:
      return 408;
    case Code::kAlreadyExists:
    case Code::kFailedPrecondition:
      return 409;
    case Code::kGone:
      return 410;
    case Code::kTooLarge:
      return 413;
    case Code::kResourceExhausted:
    case Code::kUnavailable:
      return 503;
    case Code::kBadGateway:
      return 502;
    case Code::kCancelled:
      return 499;
    case Code::kInternal:
      return 500;
  }
  return 500;
}

std::string_view DefaultReason(Code code) {
  switch (code) {
    case Code::kInvalidArgument:
      return "VALIDATION_FAILED";
    case Code::kUnauthenticated:
      return "UNAUTHENTICATED";
    case Code::kPermissionDenied:
      return "PERMISSION_DENIED";
    case Code::kNotFound:
      return "NOT_FOUND";
    case Code::kTimeout:
      return "TIMEOUT";
    case Code::kAlreadyExists:
      return "ALREADY_EXISTS";
    case Code::kFailedPrecondition:
      return "FAILED_PRECONDITION";
    case Code::kGone:
      return "GONE";
    case Code::kTooLarge:
      return "PAYLOAD_TOO_LARGE";
    case Code::kResourceExhausted:
      return "CAPACITY_EXCEEDED";
    case Code::kUnavailable:
      return "UNAVAILABLE";
    case Code::kBadGateway:
      return "BAD_GATEWAY";
    case Code::kCancelled:
      return "CANCELLED";
    case Code::kInternal:
      return "INTERNAL_ERROR";
  }
  return "INTERNAL_ERROR";
}

std::string_view ReasonOf(const Error& error) {
  return error.reason.empty() ? DefaultReason(error.code) : std::string_view(error.reason);
}

}  // namespace atl
