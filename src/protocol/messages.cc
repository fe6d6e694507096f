// SPDX-License-Identifier: Apache-2.0
#include "protocol/messages.h"

namespace atl::protocol {

Failure ToFailure(const Error& error) {
  // A reason or message made from a file name may be of any length.
  return Failure{.code = error.code,
                 .reason = error.reason.substr(0, 256),
                 .sys_errno = error.sys_errno,
                 .message = error.message.substr(0, 8192)};
}

Error ToError(Failure failure) {
  return Error{.code = failure.code,
               .message = std::move(failure.message),
               .reason = std::move(failure.reason),
               .sys_errno = failure.sys_errno};
}

Result<void> CheckVersion(uint32_t version) {
  Versions known = Understood();
  if (version >= known.oldest && version <= known.newest) return {};
  // Version 1 says it in words alone; see IsUnknownRequest.
  return Fail(Code::kFailedPrecondition,
              "the agent speaks protocol version " + std::to_string(known.newest) +
                  ", the request version " + std::to_string(version),
              "PROTOCOL_VERSION");
}

Result<void> CheckAgentVersion(uint32_t version) {
  if (version >= kOldestVersion) return {};
  return Fail(Code::kFailedPrecondition,
              "the agent speaks protocol version " + std::to_string(version) +
                  ", this release speaks " + std::to_string(kOldestVersion) + " and newer",
              "AGENT_TOO_OLD");
}

bool IsUnknownRequest(const Error& error) {
  if (error.code == Code::kInvalidArgument) return error.message.starts_with("unknown frame type");
  return error.code == Code::kFailedPrecondition &&
         error.message.starts_with("the agent speaks protocol version");
}

Error UnexpectedFrame(const Frame& frame) {
  if (frame.type == FrameType::kError) {
    auto failure = Decode<Failure>(frame.payload);
    return failure ? ToError(*std::move(failure)) : std::move(failure).error();
  }
  return Error{
      .code = Code::kInternal,
      .message = "unexpected frame of type " + std::to_string(static_cast<unsigned>(frame.type))};
}

}  // namespace atl::protocol
