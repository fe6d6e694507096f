// SPDX-License-Identifier: Apache-2.0
// The daemon's /v1 as the command line calls it. Blocking.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "async/stream.h"
#include "base/result.h"
#include "cli/verbs.h"
#include "http/client.h"
#include "http/websocket.h"

namespace atl::cli {

class ApiClient {
 public:
  // Finds the daemon: by --url, or by the address that it wrote into its run directory.
  static Result<ApiClient> Connect(const Globals& globals);

  // The body of a 2xx answer; the API's {code, message} as an Error otherwise.
  Result<std::string> Call(std::string method, std::string path, std::string body = {}) const;

  // The body of an answer of JSON whatever its status, or of one without a body.
  Result<std::string> Post(std::string path, http::Headers headers, std::string body) const;

  // The body of a 2xx answer, piece by piece.
  using OnPiece = std::function<Result<void>(std::string_view piece)>;
  Result<void> Download(std::string path, const OnPiece& on_piece) const;

  // A WebSocket to the daemon. To be awaited on an event loop that outlives it.
  async::Task<Result<std::unique_ptr<http::WebSocket>>> OpenWebSocket(std::string path) const;

  // Passes every server-sent event's data to `on_event` until it returns false or the stream ends.
  // An answer that is no stream but JSON is passed as one event.
  using OnEvent = std::function<bool(std::string_view data)>;
  Result<void> Stream(std::string path, std::string body, const OnEvent& on_event) const;

 private:
  async::Task<Result<std::string>> CallTask(http::RequestHead head, std::string body) const;
  async::Task<Result<std::string>> PostTask(http::RequestHead head, std::string body) const;
  async::Task<Result<void>> StreamTask(http::RequestHead head, std::string body,
                                       const OnEvent& on_event) const;
  async::Task<Result<void>> DownloadTask(http::RequestHead head, const OnPiece& on_piece) const;
  http::RequestHead Head(std::string method, std::string path) const;

  async::Endpoint endpoint_;
  std::string host_;
};

// The member `name` of a JSON object that the daemon answered with, or an empty string.
std::string StringField(std::string_view json, std::string_view name);

}  // namespace atl::cli
