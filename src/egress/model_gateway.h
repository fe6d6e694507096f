// SPDX-License-Identifier: Apache-2.0
// The model provider as sandboxes see it: http://gateway.atoll/v1/… without a key. The daemon adds
// the real credential on the way out; it is never sent into a sandbox.
#pragma once

#include <string>

#include "async/task.h"
#include "http/server.h"

namespace atl::egress {

struct ModelOptions {
  enum class Protocol { kNone, kAnthropic, kOpenAi };
  Protocol protocol = Protocol::kNone;
  std::string base_url;  // "https://api.anthropic.com", "http://127.0.0.1:9100/v1"; http or https
  std::string api_key;
};

// Serves only POST /v1/messages, /v1/chat/completions, /v1/responses and GET /v1/models (with
// whatever query); everything else is 404. Bodies and SSE pass unbuffered, for minutes if need be.
class ModelGateway {
 public:
  explicit ModelGateway(ModelOptions options);
  async::Task<> Handle(std::string iid, http::Exchange& exchange);

 private:
  ModelOptions options_;
};

}  // namespace atl::egress
