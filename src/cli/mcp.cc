// SPDX-License-Identifier: Apache-2.0
// mcp: the stdio transport of the Model Context Protocol. Every line goes to the daemon's /v1/mcp.
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>

#include "cli/api_client.h"
#include "cli/verbs.h"
#include "crypto/bytes.h"
#include "json/reader.h"
#include "json/writer.h"
#include "sandbox/id.h"

namespace atl::cli {
namespace {

constexpr size_t kMaxLine = 32UL << 20U;
constexpr int kMostAtOnce = 64;
constexpr int kInvalidRequest = -32600;
constexpr int kInternalError = -32603;

// Whole lines, for whoever is first.
class Output {
 public:
  void Write(std::string line) {
    line += '\n';
    std::scoped_lock lock(mutex_);
    std::string_view rest = line;
    while (!rest.empty()) {
      ssize_t n = ::write(STDOUT_FILENO, rest.data(), rest.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) std::_Exit(0);  // the client has gone away, and so do the calls
      rest.remove_prefix(static_cast<size_t>(n));
    }
  }
  // Is there somebody who could read?
  static bool HasReader() {
    pollfd out{.fd = STDOUT_FILENO, .events = 0, .revents = 0};
    return ::poll(&out, 1, 0) <= 0 || (out.revents & (POLLERR | POLLHUP)) == 0;
  }

 private:
  std::mutex mutex_;
};

std::string Failure(std::string_view id, int code, std::string_view message) {
  json::Writer writer;
  writer.BeginObject().Field("jsonrpc", "2.0").Key("id").Raw(id);
  writer.Key("error").BeginObject().Field("code", code).Field("message", message);
  writer.EndObject().EndObject();
  return writer.Take();
}

struct Line {
  std::string text;
  std::string id = "null";
  bool request = false;  // somebody waits for the answer
  bool tool = false;     // which may take long
};

Line Look(std::string text) {
  Line line{.text = std::move(text)};
  Result<json::Object> object = json::Object::Parse(line.text);
  if (!object) return line;
  line.request = object->Has("id") && object->Has("method");
  line.tool = object->IsString("method") && object->String("method").value_or("") == "tools/call";
  if (!line.request) return line;
  if (object->IsString("id")) {
    line.id.clear();
    json::AppendString(line.id, object->String("id").value_or(""));
  } else if (auto number = object->OptionalInt("id", {}); number && *number) {
    line.id = std::to_string(**number);
  }
  return line;
}

class Bridge {
 public:
  Bridge(const ApiClient& client, std::string path) : client_(client), path_(std::move(path)) {}

  void Take(std::string text) {
    if (text.find_first_not_of(" \t\r") == std::string::npos) return;
    Line line = Look(std::move(text));
    if (!line.request || !line.tool) {
      Forward(line);
      return;
    }
    if (!Begin()) {
      output_.Write(
          Failure(line.id, kInternalError, fmt::format("more than {} calls at once", kMostAtOnce)));
      return;
    }
    std::thread([this, line = std::move(line)] {
      Forward(line);
      End();
    }).detach();
  }

  void Refuse() {
    output_.Write(Failure("null", kInvalidRequest, "a message has more than 32 MiB"));
  }

  // What was asked for is answered, as long as somebody could read it.
  void WaitForCalls() {
    constexpr std::chrono::milliseconds kLook{200};
    std::unique_lock lock(mutex_);
    while (calls_ > 0 && Output::HasReader()) ended_.wait_for(lock, kLook);
  }

 private:
  bool Begin() {
    std::scoped_lock lock(mutex_);
    if (calls_ == kMostAtOnce) return false;
    ++calls_;
    return true;
  }
  void End() {
    std::scoped_lock lock(mutex_);
    --calls_;
    ended_.notify_all();
  }

  void Forward(const Line& line) {
    http::Headers headers;
    headers.Add("Mcp-Session-Id", session_);
    Result<std::string> answer = client_.Post(path_, std::move(headers), line.text);
    while (answer && answer->ends_with('\n')) answer->pop_back();
    if (answer && !answer->empty()) {
      output_.Write(*std::move(answer));
    } else if (!answer && line.request) {
      output_.Write(Failure(line.id, kInternalError, answer.error().message));
    } else if (!answer) {
      fmt::print(stderr, "atoll: {}\n", answer.error().message);
    }
  }

  const ApiClient& client_;
  const std::string path_;
  static constexpr size_t kRandomBytes = 16;
  const std::string session_ = crypto::RandomHex(kRandomBytes);
  Output output_;
  std::mutex mutex_;
  std::condition_variable ended_;
  int calls_ = 0;
};

// Passes lines on until the input ends.
void ReadLines(Bridge& bridge) {
  std::string pending;
  std::string buffer(64UL << 10U, '\0');
  bool skipping = false;  // the rest of a line that is too long
  while (true) {
    ssize_t n = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    std::string_view piece(buffer.data(), static_cast<size_t>(n));
    while (!piece.empty()) {
      size_t newline = piece.find('\n');
      std::string_view part = piece.substr(0, newline);
      if (!skipping) pending += part;
      if (!skipping && pending.size() > kMaxLine) {
        skipping = true;
        pending.clear();
        bridge.Refuse();
      }
      if (newline == std::string_view::npos) break;
      piece.remove_prefix(newline + 1);
      if (!skipping) bridge.Take(std::exchange(pending, {}));
      skipping = false;
    }
  }
  if (!pending.empty()) bridge.Take(std::move(pending));
}

}  // namespace

Result<int> Mcp(const Globals& globals, const std::string& sandbox) {
  std::string path = "/v1/mcp";
  if (!sandbox.empty()) {
    TRY(sandbox::ValidateId(sandbox));
    path += "?sandbox=" + sandbox;
  }
  ASSIGN(ApiClient client, ApiClient::Connect(globals));
  Bridge bridge(client, path);
  ReadLines(bridge);
  bridge.WaitForCalls();
  // Calls that nobody waits for end with their connections.
  std::_Exit(0);
}

}  // namespace atl::cli
