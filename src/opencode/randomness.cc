// SPDX-License-Identifier: Apache-2.0
#include "opencode/randomness.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <string_view>

#include "http/client.h"
#include "json/reader.h"
#include "opencode/server.h"
#include "sys/fd.h"

namespace atl::opencode {
namespace {

constexpr std::chrono::milliseconds kLimit{10'000};
constexpr size_t kMostBytes = 256U << 10U;
constexpr size_t kMostEventBytes = 16U << 10U;
// "ses_", twelve hexadecimal digits of time, then these: each is a byte modulo 62.
constexpr std::string_view kDigits =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
constexpr size_t kPrefix = 16;
constexpr size_t kRandom = 14;
constexpr size_t kReserve = 2048;
constexpr size_t kCount = sizeof(uint64_t);  // before them: how many are used
constexpr size_t kDraws = 2;

async::Task<> DrawInto(sandbox::AgentClient& agent, Result<std::string>& result) {
  Result<async::Stream> stream = co_await agent.Dial(kPort);
  if (!stream) {
    result = Unexpected(std::move(stream).error());
    co_return;
  }
  std::unique_ptr<http::Transport> transport = http::PlainTransport(std::move(*stream));
  http::RequestHead head;
  head.method = "POST";
  head.target = "/session";
  head.host = fmt::format("127.0.0.1:{}", kPort);
  head.headers.Add("Host", head.host);
  head.headers.Add("Connection", "close");
  head.headers.Add("Content-Type", "application/json");
  Result<http::Response> response =
      co_await http::Fetch(*transport, std::move(head), std::string("{}"), kMostBytes);
  if (!response) {
    result = Unexpected(std::move(response).error());
    co_return;
  }
  Result<json::Object> body = json::Object::Parse(response->body);
  if (!body) {
    result = Unexpected(std::move(body).error());
    co_return;
  }
  Result<std::string> id = body->String("id");
  if (id && id->size() == kPrefix + kRandom) {
    result = id->substr(kPrefix);
  } else {
    result = Fail(Code::kInternal, "OpenCode's ids are not as they were");
  }
}

// The first event of a stream of its own: "server.connected".
async::Task<> DrawEventInto(sandbox::AgentClient& agent, Result<std::string>& result) {
  Result<async::Stream> stream = co_await agent.Dial(kPort);
  if (!stream) {
    result = Unexpected(std::move(stream).error());
    co_return;
  }
  std::unique_ptr<http::Transport> transport = http::PlainTransport(std::move(*stream));
  http::ClientRequest request(*transport);
  http::RequestHead head;
  head.method = "GET";
  head.target = "/event";
  head.host = fmt::format("127.0.0.1:{}", kPort);
  head.headers.Add("Host", head.host);
  Result<void> sent = co_await request.SendHead(std::move(head));
  if (sent) sent = co_await request.SendEnd();
  Result<http::ResponseHead> answered = Fail(Code::kInternal, "nothing was asked");
  if (sent) answered = co_await request.ReadHead();
  if (!sent || !answered) {
    result = Unexpected(sent ? std::move(answered).error() : std::move(sent).error());
    co_return;
  }
  constexpr std::string_view kBegins = R"("id":"evt_)";
  constexpr size_t kLength = kBegins.size() - 4 + kPrefix + kRandom;
  std::string text;
  while (text.size() < kMostEventBytes) {
    char buffer[1024];
    Result<size_t> size = co_await request.ReadSome(buffer);
    if (!size || *size == 0) break;
    text.append(buffer, *size);
    size_t at = text.find(kBegins);
    if (at == std::string::npos || text.size() < at + kLength + 1) continue;
    if (text[at + kLength] != '"') break;
    result = text.substr(at + kLength - kRandom, kRandom);
    co_return;
  }
  result = Fail(Code::kInternal, "OpenCode's events are not as they were");
}

bool Matches(std::span<const unsigned char> bytes, size_t at, std::string_view drawn) {
  if (at + drawn.size() > bytes.size()) return false;
  for (size_t i = 0; i < drawn.size(); ++i) {
    if (kDigits[bytes[at + i] % kDigits.size()] != drawn[i]) return false;
  }
  return true;
}

// Who drew: a copy of the checkpoint, or its original, before it was made.
enum class Drawn { kAfter, kBefore };

// Where bytes begin that can be what both were drawn from; `hit`: where the first was found. An
// empty `second` is found with it.
std::vector<size_t> Candidates(std::span<const unsigned char> bytes, size_t hit,
                               std::string_view second, Drawn when) {
  std::vector<size_t> found;
  size_t least = hit + kRandom > kReserve ? hit + kRandom - kReserve : 0;
  for (size_t start = std::max(kCount, (least + 7) / 8 * 8); start <= hit; start += 8) {
    size_t end = start + kReserve;
    uint64_t next = 0;
    if (end > bytes.size()) break;
    std::memcpy(&next, &bytes[start - kCount], sizeof(next));
    if (when == Drawn::kAfter && next > hit - start) continue;
    if (when == Drawn::kBefore && (next < hit + kRandom - start || next > kReserve)) continue;
    bool random = true;
    for (size_t at = start; at < end && random; at += 8) {
      uint64_t word = 0;
      std::memcpy(&word, &bytes[at], sizeof(word));
      random = word > UINT32_MAX;
    }
    bool both = second.empty();
    for (size_t at = hit + kRandom; at + kRandom <= end && !both; ++at) {
      both = Matches(bytes, at, second);
    }
    if (random && both) found.push_back(start);
  }
  return found;
}

void UseUp(std::span<unsigned char> bytes, size_t start) {
  uint64_t used = kReserve;
  std::memcpy(&bytes[start - kCount], &used, sizeof(used));
}

class Mapping {
 public:
  static Result<Mapping> Open(const std::string& path) {
    ASSIGN(sys::Fd file, sys::Open(path, O_RDWR));
    struct stat info{};
    if (::fstat(file.get(), &info) != 0) return FailErrno(errno, path);
    Mapping mapping;
    mapping.size_ = static_cast<size_t>(info.st_size);
    if (mapping.size_ == 0) return mapping;
    void* start = ::mmap(nullptr, mapping.size_, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    if (start == MAP_FAILED) return FailErrno(errno, "map " + path);
    mapping.start_ = static_cast<unsigned char*>(start);
    return mapping;
  }
  Mapping(Mapping&& other) noexcept
      : start_(std::exchange(other.start_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Mapping& operator=(Mapping&&) = delete;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (start_ != nullptr) ::munmap(start_, size_);
  }
  std::span<unsigned char> bytes() const { return {start_, size_}; }

 private:
  Mapping() = default;
  unsigned char* start_ = nullptr;
  size_t size_ = 0;
};

std::vector<std::string> PageFiles(const std::string& images) {
  std::vector<std::string> files;
  DIR* directory = ::opendir(images.c_str());
  if (directory == nullptr) return files;
  while (const dirent* entry = ::readdir(directory)) {
    std::string_view name = entry->d_name;
    if (name.starts_with("pages-")) files.push_back(fmt::format("{}/{}", images, name));
  }
  ::closedir(directory);
  return files;
}

}  // namespace

async::Task<Result<std::vector<std::string>>> DrawIds(sandbox::AgentClient& agent) {
  std::vector<std::string> drawn;
  for (size_t i = 0; i < kDraws; ++i) {
    Result<std::string> one = Fail(Code::kTimeout, "OpenCode does not answer");
    co_await async::WithTimeout(kLimit, DrawInto(agent, one));
    CO_TRY(one);
    drawn.push_back(*std::move(one));
  }
  co_return drawn;
}

async::Task<Result<std::string>> DrawEventId(sandbox::AgentClient& agent) {
  Result<std::string> drawn = Fail(Code::kTimeout, "OpenCode does not answer");
  co_await async::WithTimeout(kLimit, DrawEventInto(agent, drawn));
  co_return drawn;
}

Result<void> UseUpRandomness(const std::string& images, const std::vector<std::string>& drawn) {
  if (drawn.size() != kDraws) return Fail(Code::kInternal, "too little was drawn");
  std::vector<std::pair<std::string, size_t>> found;
  for (const std::string& path : PageFiles(images)) {
    ASSIGN(Mapping mapping, Mapping::Open(path));
    std::span<const unsigned char> bytes = mapping.bytes();
    for (size_t at = 0; at + kRandom <= bytes.size(); ++at) {
      if (!Matches(bytes, at, drawn[0])) continue;
      for (size_t start : Candidates(bytes, at, drawn[1], Drawn::kAfter))
        found.emplace_back(path, start);
    }
  }
  if (found.size() != 1) {
    return Fail(Code::kNotFound,
                fmt::format("OpenCode's random bytes were found in {} places", found.size()));
  }
  ASSIGN(Mapping mapping, Mapping::Open(found.front().first));
  UseUp(mapping.bytes(), found.front().second);
  return {};
}

Result<void> UseUpRandomnessDrawn(const std::string& images,
                                  const std::vector<std::string>& drawn) {
  // Which of them may begin with a byte.
  std::array<std::vector<const std::string*>, 256> by_byte;
  for (size_t byte = 0; byte < by_byte.size(); ++byte) {
    for (const std::string& one : drawn) {
      if (one.size() == kRandom && one[0] == kDigits[byte % kDigits.size()]) {
        by_byte.at(byte).push_back(&one);
      }
    }
  }
  for (const std::string& path : PageFiles(images)) {
    ASSIGN(Mapping mapping, Mapping::Open(path));
    std::span<unsigned char> bytes = mapping.bytes();
    for (size_t at = 0; at + kRandom <= bytes.size(); ++at) {
      for (const std::string* one : by_byte[bytes[at]]) {
        if (!Matches(bytes, at, *one)) continue;
        std::vector<size_t> starts = Candidates(bytes, at, {}, Drawn::kBefore);
        if (starts.size() != 1) continue;
        UseUp(bytes, starts.front());
        return {};
      }
    }
  }
  return Fail(Code::kNotFound, "OpenCode's random bytes were not found");
}

}  // namespace atl::opencode
