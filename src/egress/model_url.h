// SPDX-License-Identifier: Apache-2.0
// Where the model provider is, and what a sandbox may ask of it. Internal to this room.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "egress/model_gateway.h"

namespace atl::egress {

struct ModelUrl {
  bool tls = false;
  std::string host;  // without brackets
  uint16_t port = 0;
  std::string authority;  // for the Host field
  std::string path;       // no slash at the end
};

// http or https, without user, query or fragment.
Result<ModelUrl> ParseModelUrl(std::string_view text);

// Is this one of the four requests that pass?
bool IsModelRequest(std::string_view method, std::string_view path);

// The provider's path for a request's: base URLs of the OpenAI kind carry their version ("/v1",
// "/api/v3"), those of the Anthropic kind need not.
std::string JoinModelPath(ModelOptions::Protocol protocol, std::string_view base,
                          std::string_view path);

}  // namespace atl::egress
