// SPDX-License-Identifier: Apache-2.0
// The events of /run, as server-sent events appended to a buffer.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "sandbox/run.h"

namespace atl::api {

// "2026-01-02T03:04:05.678Z"
std::string IsoTime(int64_t unix_ms);
int64_t NowMs();

// Output bytes become text events where they are UTF-8 and base64 events where they are not. A code
// point that is cut by the end of a piece waits for its rest: for at most 3 bytes.
class OutputEvents {
 public:
  using Stream = sandbox::ProcessEvent::Kind;

  // `base64`: whatever the bytes are.
  explicit OutputEvents(bool base64 = false) : base64_(base64) {}

  void Start(std::string_view command, std::string& out);
  // One event for every 64 KiB and what is left.
  void Output(Stream stream, std::string_view data, std::string& out);
  // With more members, as JSON text without its braces.
  void Start(std::string_view command, std::string_view members, std::string& out);
  // Both also give out what still waits for its rest.
  void Complete(std::string_view members, std::string& out);
  void Complete(const sandbox::RunOutcome& outcome, std::string& out);
  void Failure(const Error& error, std::string& out);

 private:
  // The text at its beginning, then the rest of it as bytes.
  void Piece(Stream stream, std::string_view data, std::string& out);
  void Flush(std::string& out);
  void End(std::string& out);
  std::string_view Timestamp();

  bool base64_;
  std::array<std::string, 2> waiting_;  // of stdout and stderr
  int64_t timestamp_ms_ = -1;
  std::string timestamp_;
};

}  // namespace atl::api
